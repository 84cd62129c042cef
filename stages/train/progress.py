"""Progress of training: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from schemas.vision.checkpoint import EpochRecord

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES = 30.0


class TrainingProgress:
    """Shows images per second and the time left; prints one line an epoch."""

    def __init__(self, *, num_epochs: int, images_per_epoch: int, console: "Console | None" = None) -> None:
        self._num_epochs = num_epochs
        self._images_per_epoch = images_per_epoch
        self._num_done = self._num_done_before = 0
        self._started = self._last_line = time.perf_counter()
        self._epoch_started = self._started
        self._num_done_at_epoch = 0
        self._bar: Progress | None = None
        self._task: TaskID
        if console.is_terminal if console else sys.stdout.isatty():
            self._bar = _build_bar(console)
            self._task = self._bar.add_task("epoch 1", total=num_epochs * images_per_epoch, state="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def skip(self, num_images: int) -> None:
        """Count images that the resumed run was trained on before."""
        self._num_done = self._num_done_before = num_images
        self._started = time.perf_counter()
        if self._bar:
            self._bar.update(self._task, completed=num_images)

    def start_epoch(self, epoch: int) -> None:
        """Show that an epoch, counted from 1, begins."""
        self._epoch_started = time.perf_counter()
        self._num_done_at_epoch = self._num_done
        if self._bar:
            self._bar.update(self._task, description=f"epoch {epoch}/{self._num_epochs}")

    def advance(self, num_images: int) -> None:
        """Count images that were trained on."""
        self._num_done += num_images
        now = time.perf_counter()
        if self._bar:
            self._bar.update(self._task, advance=num_images, state=self._state(now))
        elif now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._print(
                f"{self._num_done / self._num_epochs / self._images_per_epoch:.0%}  {self._state(now)}"
            )

    def finish_epoch(self, record: EpochRecord, *, is_best: bool) -> None:
        """Print the scores of an epoch."""
        now = time.perf_counter()
        speed = (self._num_done - self._num_done_at_epoch) / (now - self._epoch_started)
        self._print(
            f"epoch {record.epoch:>{len(str(self._num_epochs))}}/{self._num_epochs}"
            f"  train loss {record.train_loss:.4f}  val loss {record.val.loss:.4f}"
            f"  val accuracy {record.val.accuracy:.2%}  {speed:,.0f} images/s  {self._left(now)} left"
            f"{'  best' if is_best else ''}"
        )

    def _state(self, now: float) -> str:
        elapsed = max(now - self._started, 1e-9)
        num_done = self._num_done - self._num_done_before
        return f"{num_done / elapsed:,.0f} images/s  {self._left(now)} left"

    def _left(self, now: float) -> str:
        seconds_per_image = (now - self._started) / max(self._num_done - self._num_done_before, 1)
        return _clock(seconds_per_image * (self._num_epochs * self._images_per_epoch - self._num_done))

    def _print(self, line: str) -> None:
        self._last_line = time.perf_counter()
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


def _build_bar(console: "Console | None") -> "Progress":
    """Return the bar for a terminal."""
    # Imported only for a terminal: rich takes a quarter of a second.
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
        transient=True,
    )


def _clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
