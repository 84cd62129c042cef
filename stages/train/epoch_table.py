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
        self._last_epoch: int | None = None

    def start_phase(self, *, last_epoch: int | None) -> None:
        """Begin to measure the speed again, for epochs up to this one or, if None, to the end."""
        self.skip(self.num_done)
        self._last_epoch = last_epoch

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at that speed; None while later epochs will have another one."""
        is_last = self._last_epoch is None or self._last_epoch >= self._num_epochs
        return super().seconds_left if is_last else None

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
        seconds_left = self.seconds_left
        left = "-" if seconds_left is None else clock(seconds_left)
        epoch, accuracy = f"{record.epoch}/{self._num_epochs}", write_accuracy(record.val.accuracy)
        self.print(
            f"{epoch:>7} {record.train_loss:10.4f} {record.val.loss:9.4f} {accuracy:>8}"
            f" {speed:8,.0f} {left:>6}{'  best' if is_best else ''}"
        )


def write_accuracy(accuracy: float) -> str:
    """Return a share in percent: 100.00% only if every image is correct."""
    return f"{min(accuracy, 0.9999) if accuracy < 1 else accuracy:.2%}"
