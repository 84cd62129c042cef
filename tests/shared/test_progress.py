"""How far work is, on a terminal and elsewhere."""

import io
import itertools
import re

import pytest
from rich.console import Console

from stages.shared import progress
from stages.shared.progress import Progress, clock, show_step


@pytest.fixture
def _seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every look at the clock find it a second later."""
    times = itertools.count(0.0, 1.0)
    monkeypatch.setattr("stages.shared.progress.time.perf_counter", lambda: next(times))


def show(total: int | None, *, is_terminal: bool, is_quiet: bool = False, between_lines: float = 30.0) -> str:
    """Return what is shown while 30 of so many files are done."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=is_terminal, width=80, color_system=None)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", between_lines)
        with Progress("work", lambda: total, unit="files", is_quiet=is_quiet, console=console) as shown:
            for _ in range(3):
                shown.advance(10)
    assert shown.num_done == 30
    return screen.getvalue()


@pytest.mark.usefixtures("_seconds")
def test_a_terminal_shows_a_bar_that_goes_away() -> None:
    """It fits 60 columns, tells share, speed and time left, and the cursor comes back."""
    text = show(60, is_terminal=True)
    assert "━" in text
    frames = [frame.strip() for frame in re.split(r"\x1b\[[\d?]*[A-Za-z]|\r|\n", text) if "files/s" in frame]
    assert re.fullmatch(r"work ━+ +50%  \d files/s  0:\d\d left", frames[-1])
    assert max(map(len, frames)) <= 60
    assert "\x1b[?25h" in text


def test_short_work_shows_nothing() -> None:
    """What is done at once draws no bar, and does not wait for rich."""
    assert show(60, is_terminal=True) == ""


@pytest.mark.usefixtures("_seconds")
def test_elsewhere_a_line_comes_now_and_then() -> None:
    """A log gets a plain line every half minute, not with every batch."""
    assert show(60, is_terminal=False) == ""
    lines = show(60, is_terminal=False, between_lines=0.0).splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"work: \d+%  \d files/s  \d:\d\d left", line) for line in lines)


@pytest.mark.usefixtures("_seconds")
def test_without_an_end_in_sight_no_time_is_promised() -> None:
    """A list on standard input may go on for ever."""
    text = show(None, is_terminal=True)
    assert "30 files" in text
    assert "left" not in text


@pytest.mark.usefixtures("_seconds")
def test_nothing_is_mixed_into_what_shares_the_terminal() -> None:
    """Where predictions scroll by, they are the progress."""
    assert show(60, is_terminal=True, is_quiet=True) == ""


@pytest.mark.usefixtures("_seconds")
def test_more_than_all_is_all() -> None:
    """A total that was too low gives neither 200 % nor a time below zero."""
    counted = Progress("work", 10)
    counted.advance(20)
    assert counted.describe().startswith("100%")
    assert counted.describe().endswith("0:00 left")


@pytest.mark.usefixtures("_seconds")
def test_what_was_done_before_says_nothing_of_the_speed() -> None:
    """A resumed run counts what it finds as done, and its speed from then on."""
    counted = Progress("work", 100)  # 0 s
    counted.skip(60)  # 1 s
    counted.advance(20)  # 2 s
    # 3 s: 10 a second since; 4 s: 7 a second.
    assert counted.describe() == "80%  7 images/s  0:02 left"


def test_before_anything_is_done_no_time_is_promised() -> None:
    """A run that resumes where only an epoch's end is left knows no speed."""
    with Progress("work", 60, is_quiet=True) as shown:
        shown.skip(40)
        assert shown.seconds_left is None
        shown.advance(20)
        assert shown.seconds_left == 0


def test_cursor_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that fails leaves no bar behind."""
    monkeypatch.setattr(progress, "_SECONDS_BEFORE_BAR", -1.0)
    screen = io.StringIO()

    def fail() -> None:
        with Progress("work", 10, console=Console(file=screen, force_terminal=True)) as shown:
            shown.advance(1)
            assert "\x1b[?25l" in screen.getvalue()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "\x1b[?25h" in screen.getvalue()


def test_a_step_is_erased(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal its line gives way to what is printed next; elsewhere there is none."""
    with show_step("work"):
        pass
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with show_step("work"):
        pass
    assert capsys.readouterr().out == "work ...\r\x1b[K"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (600, "10:00"), (3599.6, "1:00:00"), (90061, "25:01:01")],
)
def test_durations_are_read_as_on_a_clock(seconds: float, text: str) -> None:
    """Minutes and seconds, and hours where there are any."""
    assert clock(seconds) == text
