"""How far predict is."""

import io

import pytest
from rich.console import Console

from tools.predict.prediction_table import Progress


def shown(num_files: int | None, *, is_terminal: bool, shares_terminal: bool = False) -> str:
    """Return what is shown while 30 of so many files are done."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=100)
    with Progress(lambda: num_files, shares_terminal=shares_terminal, console=console) as progress:
        progress.advance(10)
        progress.advance(20)
    assert progress.num_done == 30
    return file.getvalue()


def test_terminal_shows_how_many_are_left() -> None:
    """Files done, files known of, speed and time."""
    text = shown(60, is_terminal=True)
    assert "30 of 60 files" in text
    assert "left" in text


def test_list_of_unknown_length() -> None:
    """Without an end in sight no time is promised."""
    text = shown(None, is_terminal=True)
    assert "30 files" in text
    assert "left" not in text


def test_nothing_is_mixed_into_predictions_on_the_same_terminal() -> None:
    """Where the predictions scroll by, they are the progress."""
    assert shown(60, is_terminal=True, shares_terminal=True) == ""


def test_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere than on a terminal a line comes after a while, not with every batch."""
    assert shown(60, is_terminal=False) == ""
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("tools.predict.prediction_table._SECONDS_BETWEEN_LINES", 0.0)
    shown(60, is_terminal=False)
    assert "predict: 10 of 60 files" in capsys.readouterr().err
