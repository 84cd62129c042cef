"""When training ends."""

import itertools
from typing import Any

import pytest

from schemas.vision.history import EndedBy
from stages.train.ending import Clock, explain_end


def explain(num_finished: int, **changes: Any) -> EndedBy | None:
    """Return why a run of 10 epochs ends after some, if it does."""
    arguments: dict[str, Any] = {
        "num_epochs": 10,
        "best_epoch": num_finished,
        "patience_epochs": None,
        "seconds": 100.0,
        "max_seconds": None,
    }
    return explain_end(num_finished, **{**arguments, **changes})


def test_all_epochs_are_trained() -> None:
    """Without other reasons the number of epochs decides."""
    assert [explain(number) for number in (0, 9, 10)] == [None, None, "num_epochs"]


@pytest.mark.parametrize(
    ("num_finished", "best_epoch", "ended_by"),
    [(0, 0, None), (1, 1, None), (4, 2, None), (5, 2, "early_stopping"), (10, 2, "num_epochs")],
)
def test_epochs_without_a_new_best_end_training(
    num_finished: int, best_epoch: int, ended_by: EndedBy | None
) -> None:
    """With a patience of 3, the third epoch in a row that is no new best is the last."""
    assert explain(num_finished, best_epoch=best_epoch, patience_epochs=3) == ended_by


@pytest.mark.parametrize(
    ("num_finished", "seconds", "ended_by"),
    [(0, 999.0, None), (1, 49.0, None), (1, 51.0, "time_budget"), (4, 79.0, None), (4, 81.0, "time_budget")],
)
def test_epoch_that_would_take_too_long_is_not_begun(
    num_finished: int, seconds: float, ended_by: EndedBy | None
) -> None:
    """With 100 seconds, an epoch begins only if it would end in time at the speed so far; one always does."""
    assert explain(num_finished, seconds=seconds, max_seconds=100.0) == ended_by


def test_clock_goes_on_after_a_stop() -> None:
    """The seconds before a stop count, those between stop and restart do not."""
    ticks = itertools.count(100.0, 5.0)
    clock = Clock(now=lambda: next(ticks))  # 100
    saved = clock.state_dict()  # 105
    resumed = Clock(now=lambda: next(ticks))
    resumed.load_state_dict(saved)  # 115: as if started at 110
    assert saved == {"seconds": 5.0}
    assert resumed.seconds == 10.0
