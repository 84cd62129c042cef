"""What a search for settings found: its trials, as the table and the page show them."""

from dataclasses import dataclass
from typing import Any, Literal

from schemas.tune.tune import Space


@dataclass(frozen=True)
class Trial:
    """One run of train on settings that the sampler proposed, or on the same again with a fresh seed."""

    number: int
    """From 0, in the order proposed."""

    experiment: str | None
    """Name of its DVC experiment; None where none was made (failed)."""

    settings: dict[str, Any]
    """Dotted key of params.yaml -> value."""

    seed: int
    """The training.seed that it ran with."""

    state: Literal["finished", "pruned", "failed"]

    value: float | None
    """Of the tuned metric at the trial's best epoch; None where failed."""

    curve: tuple[float, ...]
    """The metric after each epoch."""

    reason: str = ""
    """Of a failure, one line."""

    confirms: int | None = None
    """Number of the trial that it repeats on a fresh seed."""


@dataclass(frozen=True)
class Search:
    """A whole search."""

    metric: str
    direction: Literal["minimize", "maximize"]
    space: Space
    trials: tuple[Trial, ...]

    baseline: float | None
    """The committed parameters' value on the same validation split."""
