"""How far long work has come: a line that updates on a terminal, now and then a plain line elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_SECONDS_BEFORE_BAR = 0.5
_SECONDS_BETWEEN_UPDATES = 0.1
_SECONDS_BETWEEN_LINES = 30.0
_BAR_WIDTH = 20


class Progress:
    """Counts what is done; shows its share, the speed and the time left. Use it in a `with` block.

    On a terminal a bar appears once the work has taken half a second, so that short work shows nothing, and
    is gone when the block ends. Elsewhere a line is printed every half minute.
    """

    def __init__(
        self,
        title: str,
        total: int | Callable[[], int | None],
        *,
        unit: str = "images",
        file: TextIO | None = None,
        is_quiet: bool = False,
        console: "Console | None" = None,
    ) -> None:
        """Take what is done, and how much of it there is.

        Args:
            title: Stands in front of every line; may change in the block.
            total: How many; or what returns it, or None as long as it is not known.
            unit: Of what, in the plural.
            file: Where to show it; None: stdout.
            is_quiet: Show nothing, and only count.
            console: The terminal, in tests.
        """
        self.title = title
        self.num_done = 0
        self._total = total if callable(total) else lambda: total
        self._unit = unit
        self._file = file or sys.stdout
        self._is_quiet = is_quiet
        self._console = console
        self._is_terminal = console.is_terminal if console else self._file.isatty()
        self._num_before = 0
        self._started = self._shown = time.perf_counter()
        self._bar: Bar | None = None
        self._task: TaskID

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def speed(self) -> float:
        """Return how many were done in a second, on average."""
        return (self.num_done - self._num_before) / max(time.perf_counter() - self._started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at that speed; None while that, or how much there is, is unknown."""
        total = self._total()
        left = None if total is None else max(total - self.num_done, 0)
        if not left:
            return left
        return left / self.speed if self.num_done > self._num_before else None

    def skip(self, num: int) -> None:
        """Count what an earlier run did, which says nothing of the speed."""
        self.num_done = self._num_before = num
        self._started = time.perf_counter()

    def advance(self, num: int) -> None:
        """Count more as done."""
        self.num_done += num
        if self._is_quiet:
            return
        now = time.perf_counter()
        if not self._is_terminal:
            if now - self._shown > _SECONDS_BETWEEN_LINES:
                self.print(f"{self.title}: {self.describe()}")
        elif self._bar:
            if now - self._shown > _SECONDS_BETWEEN_UPDATES:
                self._shown = now
                self._update(self._bar)
        elif now - self._started > _SECONDS_BEFORE_BAR:
            self._bar = self._build_bar()
            self._task = self._bar.add_task(self.title, total=None, state=self.describe())
            self._bar.start()
            self._update(self._bar)

    def describe(self) -> str:
        """Return the share that is done, the speed and the time left, as far as they are known."""
        total, seconds_left = self._total(), self.seconds_left
        speed = f"{self.speed:,.0f} {self._unit}/s"
        if total is None or seconds_left is None:
            return f"{self.num_done:,} {self._unit}  {speed}"
        return f"{min(self.num_done / max(total, 1), 1):.0%}  {speed}  {clock(seconds_left)} left"

    def print(self, line: str) -> None:
        """Print a line that stays; the bar goes on below it."""
        self._shown = time.perf_counter()
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self._console:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=self._file, flush=True)

    def _update(self, bar: "Bar") -> None:
        bar.update(
            self._task,
            completed=self.num_done,
            total=self._total(),
            description=self.title,
            state=self.describe(),
        )

    def _build_bar(self) -> "Bar":
        # Imported only for a terminal and for work that takes a while: rich takes a quarter of a second.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        return Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(_BAR_WIDTH),
            TextColumn("{task.fields[state]}", markup=False),
            console=self._console or Console(file=self._file),
            transient=True,
        )


@contextmanager
def show_step(text: str) -> Iterator[None]:
    """Say on a terminal what is done in the block, which prints nothing itself; the line is gone after it."""
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        print(f"{text} ...", end="", flush=True)
    try:
        yield
    finally:
        if is_terminal:
            print("\r\x1b[K", end="", flush=True)  # to the start of the line, and erase it


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
