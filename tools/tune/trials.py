"""What a search for settings found: its trials, as the table and the page show them."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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

    committed: tuple[Trial, ...] = ()
    """Runs of the committed parameters: on training.seed, then on the fresh seeds. Their numbers are -1."""

    winner: int | None = None
    """Number of the trial that the confirmation chose."""

    verdict: str = ""
    """What the confirmation said of it, against the committed parameters."""


def write_trials(path: Path, search: Search) -> None:
    """Write a line for every trial, then the runs of the committed parameters. Settings are text or JSON."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        keys = list(search.space)
        columns = ["trial", "confirms", "experiment", "seed", "state", search.metric, "epochs"]
        writer.writerow([*columns, *keys, "reason"])
        for trial in (*search.trials, *search.committed):
            cells = _list_cells(trial)
            settings = [trial.settings[key] for key in keys]
            shown = [value if isinstance(value, str) else json.dumps(value) for value in settings]
            writer.writerow([*cells, *shown, trial.reason])


def _list_cells(trial: Trial) -> Iterator[str | int]:
    yield "committed" if trial.number < 0 else trial.number
    yield "" if trial.confirms is None else "committed" if trial.confirms < 0 else trial.confirms
    yield trial.experiment or ""
    yield trial.seed
    yield trial.state
    yield "" if trial.value is None else repr(trial.value)
    yield len(trial.curve)
