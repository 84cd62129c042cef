"""How far training is, on a terminal and elsewhere."""

import io
import itertools
import re

import pytest
from rich.console import Console

from schemas.vision.checkpoint import EpochRecord, Scores
from stages.train import progress
from stages.train.progress import TrainingProgress


def make_record(epoch: int) -> EpochRecord:
    """Return an epoch with scores that show how they are rounded."""
    scores = Scores(loss=0.123456, accuracy=0.98765, balanced_accuracy=0.9, macro_f1=0.9)
    return EpochRecord(epoch=epoch, lr=0.1, train_loss=1.23456, train_accuracy=0.5, val=scores)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every look at the clock find it 10 seconds later."""
    times = itertools.count(0.0, 10.0)
    monkeypatch.setattr("stages.train.progress.time.perf_counter", lambda: next(times))


def run(shown: TrainingProgress, *, num_epochs: int, num_steps: int) -> None:
    """Go through epochs of steps of 50 images."""
    with shown:
        for epoch in range(1, num_epochs + 1):
            shown.start_epoch(epoch)
            for _ in range(num_steps):
                shown.advance(50)
            shown.finish_epoch(make_record(epoch), is_best=epoch == 1)


def test_epoch_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each epoch is a line without control characters: losses, speed, time left, best."""
    run(TrainingProgress(num_epochs=10, images_per_epoch=100), num_epochs=2, num_steps=2)
    first, second = capsys.readouterr().out.splitlines()
    shape = (
        r"epoch +\d+/10  train loss 1\.2346  val loss 0\.1235  val accuracy 98\.77%"
        r"  [\d,]+ images/s  \d+:\d\d left"
    )
    assert re.fullmatch(shape + "  best", first)
    assert re.fullmatch(shape, second)
    assert first.startswith("epoch  1/10")


@pytest.mark.usefixtures("clock")
def test_speed_and_time_left_follow_from_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    """Images a second are those of the epoch; the time left is that of the epochs still to come."""
    shown = TrainingProgress(num_epochs=3, images_per_epoch=100)  # 0 s
    with shown:
        shown.start_epoch(1)  # 10 s
        shown.advance(100)  # 20 s
        shown.finish_epoch(make_record(1), is_best=False)  # 30 s
    assert capsys.readouterr().out.endswith("  5 images/s  1:00 left\n")


@pytest.mark.usefixtures("clock")
def test_long_epochs_say_that_they_are_alive(capsys: pytest.CaptureFixture[str]) -> None:
    """Every half minute or so a plain line tells the share done, the speed and the time left."""
    run(TrainingProgress(num_epochs=1, images_per_epoch=500), num_epochs=1, num_steps=10)
    *alive, last = capsys.readouterr().out.splitlines()
    assert len(alive) == 2
    assert all(re.fullmatch(r"\d+%  [\d,]+ images/s  \d+:\d\d left", line) for line in alive)
    assert last.startswith("epoch 1/1")


def test_terminal_shows_a_bar() -> None:
    """On a terminal a bar names epoch, speed and time left, and leaves one line an epoch behind."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    run(TrainingProgress(num_epochs=2, images_per_epoch=100, console=console), num_epochs=2, num_steps=2)
    shown = screen.getvalue()
    assert "━" in shown
    assert "epoch 2/2" in shown
    assert "\x1b[?25h" in shown  # the cursor is back
    assert len(re.findall("train loss", shown)) == 2


def test_bar_goes_away_after_an_error() -> None:
    """The cursor comes back even when training ends with an error."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    shown = TrainingProgress(num_epochs=2, images_per_epoch=100, console=console)

    def fail() -> None:
        with shown:
            assert "\x1b[?25l" in screen.getvalue()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "\x1b[?25h" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (600, "10:00"), (3599.6, "1:00:00"), (90061, "25:01:01")],
)
def test_durations_are_read_as_on_a_clock(seconds: float, text: str) -> None:
    """Minutes and seconds, and hours where there are any."""
    assert progress._clock(seconds) == text
