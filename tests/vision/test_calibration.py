"""From logits to probabilities and thresholds."""

import pytest
import torch
from pydantic import ValidationError

from schemas.vision.calibration import Calibration, Threshold
from stages.vision.calibration import compute_probabilities, find_threshold
from tests.vision.documents import CALIBRATION


def test_probabilities_are_tempered() -> None:
    """The softmax of logits divided by the temperature, with 64 bits."""
    logits = torch.tensor([[2.5, 0.0, -1.0], [1e4, 0.0, 0.0]])
    found = compute_probabilities(logits, CALIBRATION)
    torch.testing.assert_close(found, torch.softmax(logits.double() / 1.25, dim=1))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("target", "expected"), [(0.0, 0.0), (0.75, 0.0), (0.76, 2 / 3), (0.95, 2 / 3), (0.951, None)]
)
def test_lowest_threshold_that_is_accurate_enough(target: float, expected: float | None) -> None:
    """As many answers as possible are given; where no threshold suffices there is none."""
    threshold = find_threshold(CALIBRATION, target_accuracy=target)
    assert (threshold.probability if threshold else None) == expected


@pytest.mark.parametrize("steps", [[(0.5, 0.9), (0.4, 0.95)], [(0.0, 0.9), (0.4, 0.9)], []])
def test_thresholds_rise(steps: list[tuple[float, float]]) -> None:
    """A document whose thresholds are none, or fall, is refused."""
    thresholds = tuple(
        Threshold(probability=probability, answered_fraction=1.0, accuracy=accuracy)
        for probability, accuracy in steps
    )
    with pytest.raises(ValidationError):
        Calibration(temperature=1.0, thresholds=thresholds)
