"""When training ends: after the last epoch, when it no longer improves, or when time is up."""

import time
from collections.abc import Callable
from typing import Any

from schemas.vision.history import EndedBy


class Clock:
    """Seconds trained, those before a stop included."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()

    @property
    def seconds(self) -> float:
        """Return how long training has taken so far."""
        return self._now() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what state_dict says."""
        self._started = self._now() - state_dict["seconds"]


def explain_end(
    num_finished: int,
    *,
    num_epochs: int,
    best_epoch: int,
    patience_epochs: int | None,
    seconds: float,
    max_seconds: float | None,
) -> EndedBy | None:
    """Return why training ends here, or None if another epoch follows.

    Args:
        num_finished: Epochs behind.
        num_epochs: How many there are at most.
        best_epoch: The best so far, counted from 1; 0 before the first.
        patience_epochs: Epochs in a row without a new best that end training; None for any number.
        seconds: How long training has taken.
        max_seconds: How long it may take; it ends before an epoch that would likely take longer. One epoch is
            always trained.
    """
    if num_finished >= num_epochs:
        return "num_epochs"
    if patience_epochs is not None and num_finished - best_epoch >= patience_epochs:
        return "early_stopping"
    if max_seconds is not None and num_finished and seconds * (1 + 1 / num_finished) > max_seconds:
        return "time_budget"
    return None
