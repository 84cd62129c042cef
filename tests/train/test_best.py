"""Which epoch is the best."""

import pytest

from schemas.vision.history import Scores
from stages.train.best import is_better


def make_scores(
    *, loss: float = 1.0, accuracy: float = 0.5, balanced_accuracy: float = 0.5, macro_f1: float = 0.5
) -> Scores:
    """Return scores that differ from others in what is named."""
    return Scores(loss=loss, accuracy=accuracy, balanced_accuracy=balanced_accuracy, macro_f1=macro_f1)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "loss"])
def test_first_epoch_is_the_best_so_far(metric: str) -> None:
    """Without an epoch before it, any epoch is the best."""
    assert is_better(make_scores(accuracy=0.0), None, metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_higher_scores_are_better(metric: str) -> None:
    """A score counts up, even against a lower loss, and only the named one counts."""
    higher = make_scores(**{metric: 0.6, "loss": 2.0})
    assert is_better(higher, make_scores(), metric=metric)
    assert not is_better(make_scores(), higher, metric=metric)


def test_lower_loss_is_better() -> None:
    """The loss counts down, whatever the scores do."""
    lower = make_scores(loss=0.9, accuracy=0.1)
    assert is_better(lower, make_scores(), metric="loss")
    assert not is_better(make_scores(), lower, metric="loss")


def test_of_equal_scores_the_lower_loss_is_better() -> None:
    """Epochs that answer equally many images right are told apart by their loss."""
    assert is_better(make_scores(loss=0.9), make_scores(), metric="accuracy")
    assert not is_better(make_scores(loss=1.1), make_scores(), metric="accuracy")


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "loss"])
def test_of_equals_the_earlier_stays(metric: str) -> None:
    """An epoch that is no better does not replace the best."""
    assert not is_better(make_scores(), make_scores(), metric=metric)
