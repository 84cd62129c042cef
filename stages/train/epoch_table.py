"""Progress of training: a row of a table for each epoch, and a bar below it on a terminal."""

import time
from typing import TYPE_CHECKING

from schemas.vision.checkpoint import EpochRecord
from stages.shared.progress import Progress, clock

if TYPE_CHECKING:
    from rich.console import Console

_HEADER = "  epoch train loss  val loss  val acc images/s   left"


class TrainingProgress(Progress):
    """Shows how far training is, and prints the scores of each epoch in at most 60 columns."""

    def __init__(self, *, num_epochs: int, images_per_epoch: int, console: "Console | None" = None) -> None:
        super().__init__("train", num_epochs * images_per_epoch, console=console)
        self._num_epochs = num_epochs
        self._epoch_started = time.perf_counter()
        self._num_done_at_epoch = 0
        self._has_header = False

    def start_epoch(self, epoch: int) -> None:
        """Show that an epoch, counted from 1, begins."""
        self.title = f"epoch {epoch}/{self._num_epochs}"
        self._epoch_started = time.perf_counter()
        self._num_done_at_epoch = self.num_done

    def finish_epoch(self, record: EpochRecord, *, is_best: bool) -> None:
        """Print the scores of an epoch; the first one has the table's header above it."""
        seconds = max(time.perf_counter() - self._epoch_started, 1e-9)
        speed = (self.num_done - self._num_done_at_epoch) / seconds
        if not self._has_header:
            self._has_header = True
            self.print(_HEADER)
        epoch, accuracy = f"{record.epoch}/{self._num_epochs}", write_accuracy(record.val.accuracy)
        self.print(
            f"{epoch:>7} {record.train_loss:10.4f} {record.val.loss:9.4f} {accuracy:>8}"
            f" {speed:8,.0f} {clock(self.seconds_left or 0.0):>6}{'  best' if is_best else ''}"
        )


def write_accuracy(accuracy: float) -> str:
    """Return a share in percent: 100.00% only if every image is correct."""
    return f"{min(accuracy, 0.9999) if accuracy < 1 else accuracy:.2%}"
