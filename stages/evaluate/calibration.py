"""Whether probabilities mean what they say, and what withholding the improbable answers brings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.vision.calibration import Threshold
from stages.evaluate.answers import Answers, Flags
from stages.vision.calibration import find_threshold
from stages.vision.scores import Numbers

NUM_BINS = 15
_MAX_POINTS = 200


@dataclass(frozen=True)
class Bin:
    """Answers of similar probability."""

    num_images: int
    probability: float
    """Mean of the answers' probabilities."""

    accuracy: float
    """Share that is right."""


@dataclass(frozen=True)
class Reliability:
    """How sure the answers were, and how often they were right."""

    bins: Sequence[Bin]
    """By rising probability, without empty ones."""

    @property
    def error(self) -> float:
        """Return the expected calibration error: the bins' distances of probability and accuracy, weighted.

        Source: Naeini et al. 2015, AAAI, Obtaining Well Calibrated Probabilities Using Bayesian Binning.
        """
        num_images = sum(each.num_images for each in self.bins)
        distances = (each.num_images * abs(each.probability - each.accuracy) for each in self.bins)
        return sum(distances) / num_images


@dataclass(frozen=True)
class Withholding:
    """What a threshold does to the test split."""

    target_accuracy: float
    threshold: Threshold | None
    """None if no threshold reached the target on the validation split."""

    answered_fraction: float
    accuracy: float
    """Share of right answers among those given; 0 if there are none."""

    curve: Sequence[tuple[float, float]]
    """Share of the images that is answered, and share of those that is wrong, by rising share."""


@dataclass(frozen=True)
class CalibrationFigures:
    """All that the report tells of calibration."""

    temperature: float
    before: Reliability
    after: Reliability
    withholding: Withholding


def measure_calibration(answers: Answers, *, target_accuracy: float) -> CalibrationFigures:
    """Return the figures for the answers to the test images."""
    is_right, after = answers.is_right, answers.probability
    threshold = find_threshold(answers.calibration, target_accuracy=target_accuracy)
    is_answered = after >= threshold.probability if threshold else np.zeros(len(after), dtype=bool)
    return CalibrationFigures(
        temperature=answers.calibration.temperature,
        before=Reliability(bin_answers(answers.raw_probability, is_right)),
        after=Reliability(bin_answers(after, is_right)),
        withholding=Withholding(
            target_accuracy=target_accuracy,
            threshold=threshold,
            answered_fraction=float(is_answered.mean()),
            accuracy=float(is_right[is_answered].mean()) if is_answered.any() else 0.0,
            curve=trace_risk(after, is_right),
        ),
    )


def bin_answers(probabilities: Numbers, is_right: Flags) -> list[Bin]:
    """Sort answers (N,) into bins of equal width over [0, 1]."""
    place = np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    num_images = np.bincount(place, minlength=NUM_BINS)
    sums = np.bincount(place, weights=probabilities, minlength=NUM_BINS)
    num_right = np.bincount(place, weights=is_right, minlength=NUM_BINS)
    return [
        Bin(int(num_images[at]), float(sums[at] / num_images[at]), float(num_right[at] / num_images[at]))
        for at in np.flatnonzero(num_images)
    ]


def trace_risk(probabilities: Numbers, is_right: Flags) -> list[tuple[float, float]]:
    """Return the risk-coverage curve at up to 200 places: most probable answers (N,) are given first.

    Images of equal probability are answered together.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    is_last = np.append(ranked[1:] != ranked[:-1], True)
    num_answered = np.arange(1, len(order) + 1)
    risks = np.cumsum(~is_right[order]) / num_answered
    places = np.flatnonzero(is_last)
    spread = np.unique(
        np.linspace(0, len(places) - 1, min(_MAX_POINTS, len(places))).round().astype(np.int64)
    )
    return [(float(num_answered[at] / len(order)), float(risks[at])) for at in places[spread]]
