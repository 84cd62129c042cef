"""How far training is."""

import io
import itertools
import re

import pytest
from rich.console import Console

from schemas.vision.checkpoint import EpochRecord, Scores
from stages.train.epoch_table import TrainingProgress


def make_record(epoch: int, *, accuracy: float = 0.98765) -> EpochRecord:
    """Return an epoch with scores that show how they are rounded."""
    scores = Scores(loss=0.123456, accuracy=accuracy, balanced_accuracy=0.9, macro_f1=0.9)
    return EpochRecord(epoch=epoch, lr=0.1, train_loss=1.23456, train_accuracy=0.5, val=scores)


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every look at the clock find it 10 seconds later, and no line come between the rows."""
    monkeypatch.setattr("stages.shared.progress._SECONDS_BETWEEN_LINES", 1e9)
    times = itertools.count(0.0, 10.0)
    monkeypatch.setattr("stages.train.epoch_table.time.perf_counter", lambda: next(times))


def run(shown: TrainingProgress, *, num_epochs: int, num_steps: int) -> None:
    """Go through epochs of steps of 50 images."""
    with shown:
        for epoch in range(1, num_epochs + 1):
            shown.start_epoch(epoch)
            for _ in range(num_steps):
                shown.advance(50)
            shown.finish_epoch(make_record(epoch), is_best=epoch == 1)


@pytest.mark.usefixtures("_clock")
def test_epochs_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One header, then a row for each epoch, columns below their names, in 60 columns."""
    run(TrainingProgress(num_epochs=100, images_per_epoch=100), num_epochs=2, num_steps=2)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split("  ")[-1].strip() == "left"
    shape = r" *\d/100     1\.2346    0\.1235   98\.77% +[\d,]+ +[\d:]+"
    first, second = rows
    assert re.fullmatch(shape + "  best", first)
    assert re.fullmatch(shape, second)
    assert len(first) <= 60
    assert first.index("1.2346") + 6 == header.index("train loss") + len("train loss")


@pytest.mark.usefixtures("_clock")
def test_speed_and_time_left_follow_from_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    """Images a second are those of the epoch; the time left is that of the epochs still to come."""
    shown = TrainingProgress(num_epochs=3, images_per_epoch=100)  # 0 s, and its epoch at 10 s
    shown.start_epoch(1)  # 20 s
    shown.advance(100)  # 30 s
    shown.finish_epoch(make_record(1), is_best=False)  # 40 s: 5 a second
    # 60 s: 100 images in the minute since the start, and 200 are left.
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["5", "2:00"]


def test_all_but_a_few_are_not_all(capsys: pytest.CaptureFixture[str]) -> None:
    """100 % is said of no mistakes only."""
    shown = TrainingProgress(num_epochs=3, images_per_epoch=100)
    shown.finish_epoch(make_record(1, accuracy=0.99999), is_best=False)
    shown.finish_epoch(make_record(2, accuracy=1.0), is_best=False)
    assert re.findall(r"[\d.]+%", capsys.readouterr().out) == ["99.99%", "100.00%"]


@pytest.mark.usefixtures("_clock")
def test_a_terminal_shows_epoch_and_table() -> None:
    """On a terminal a bar names the epoch, below a row for each that is finished."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    run(TrainingProgress(num_epochs=2, images_per_epoch=100, console=console), num_epochs=2, num_steps=2)
    shown = screen.getvalue()
    assert "━" in shown
    assert "epoch 2/2" in shown
    assert len(re.findall("1.2346", shown)) == 2


@pytest.mark.usefixtures("_clock")
def test_epochs_of_a_frozen_backbone_tell_nothing_of_those_after(capsys: pytest.CaptureFixture[str]) -> None:
    """Until the last of them no time is shown; from then on the speed counts again."""
    shown = TrainingProgress(num_epochs=3, images_per_epoch=100)
    shown.start_phase(last_epoch=2)
    shown.advance(200)
    shown.finish_epoch(make_record(2), is_best=False)
    shown.start_phase(last_epoch=None)
    shown.advance(50)
    shown.finish_epoch(make_record(3), is_best=False)
    # 50 images in the 30 s since the phase began, and 50 are left.
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["-", "0:30"]
