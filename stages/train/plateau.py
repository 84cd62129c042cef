"""The learning rate's fall when validation no longer improves."""

from typing import Any

from schemas.train.lr_scheduler import Plateau as PlateauParams
from schemas.vision.history import Scores


class Plateau:
    """A factor on the learning rate that falls when a metric has not improved for some epochs.

    torch's ReduceLROnPlateau with an absolute threshold, apart from any optimizer, so that warm-up and
    parameter groups of several rates go with it.
    """

    def __init__(self, arguments: PlateauParams, *, metric: str) -> None:
        self._arguments = arguments
        self._metric = metric
        self._best: float | None = None
        self._num_bad_epochs = 0
        self.factor = 1.0

    def watch(self, scores: Scores) -> None:
        """Take note of an epoch's validation scores."""
        value = -scores.loss if self._metric == "loss" else getattr(scores, self._metric)
        if self._best is None or value > self._best + self._arguments.min_delta:
            self._best, self._num_bad_epochs = value, 0
            return
        self._num_bad_epochs += 1
        if self._num_bad_epochs > self._arguments.patience_epochs:
            self.factor = max(self.factor * self._arguments.gamma, self._arguments.min_lr_fraction)
            self._num_bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"best": self._best, "num_bad_epochs": self._num_bad_epochs, "factor": self.factor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Become what state_dict was taken from."""
        self._best = state_dict["best"]
        self._num_bad_epochs = state_dict["num_bad_epochs"]
        self.factor = state_dict["factor"]
