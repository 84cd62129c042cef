"""How far predict is, on stderr: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES = 30.0


class PredictProgress:
    """Counts files; shows how many there are, as far as is known, files per second and the time left."""

    def __init__(
        self, num_files: Callable[[], int | None], *, shares_terminal: bool, console: "Console | None" = None
    ) -> None:
        """Take what tells how many files there are, and whether the answers go to the same terminal."""
        self._num_files = num_files
        self.num_done = 0
        self._started = self._last_line = time.perf_counter()
        self._bar: Progress | None = None
        self._task: TaskID
        self._is_quiet = shares_terminal
        is_terminal = console.is_terminal if console else sys.stderr.isatty()
        if is_terminal and not shares_terminal:
            self._bar = _build_bar(console)
            self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def speed(self) -> float:
        """Return files per second since the start."""
        return self.num_done / max(time.perf_counter() - self._started, 1e-9)

    def advance(self, num_files: int) -> None:
        """Say that so many more files are done."""
        self.num_done += num_files
        if self._is_quiet:
            return
        now = time.perf_counter()
        if self._bar:
            self._bar.update(
                self._task, completed=self.num_done, total=self._num_files(), description=self._state()
            )
        elif now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(f"predict: {self._state()}", file=sys.stderr, flush=True)

    def _state(self) -> str:
        total = self._num_files()
        if total is None:
            return f"{self.num_done:,} files  {self.speed:,.0f} a second"
        seconds = round((total - self.num_done) / max(self.speed, 1e-9))
        return (
            f"{self.num_done:,} of {total:,} files  {self.speed:,.0f} a second  "
            f"{seconds // 60}:{seconds % 60:02} left"
        )


def _build_bar(console: "Console | None") -> "Progress":
    """Return the bar for a terminal."""
    # Only where there is one: rich takes a quarter of a second to import.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = console or Console(file=sys.stderr)
    return Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)
