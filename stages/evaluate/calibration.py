"""Calibration on the test split: confidence against accuracy, and what rejecting predictions brings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.vision.checkpoint import Threshold
from stages.evaluate.predictions import Bools, Floats, Predictions
from stages.vision.inference import find_threshold

NUM_BINS = 15
_MAX_POINTS = 200


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence."""

    num_images: int
    confidence: float
    """Mean probability of the predicted classes."""

    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy: a reliability diagram."""

    bins: Sequence[Bin]
    """By rising confidence, without empty ones."""

    @property
    def error(self) -> float:
        """Return the expected calibration error: the mean gap of confidence and accuracy over the images.

        Source: Naeini et al. 2015, AAAI, Obtaining Well Calibrated Probabilities Using Bayesian Binning.
        """
        num_images = sum(each.num_images for each in self.bins)
        gaps = (each.num_images * abs(each.confidence - each.accuracy) for each in self.bins)
        return sum(gaps) / num_images


@dataclass(frozen=True)
class SelectivePrediction:
    """What rejecting predictions of low confidence does to the test split."""

    target_accuracy: float
    threshold: Threshold | None
    """Chosen on the validation split; None if no threshold reached the target there."""

    coverage: float
    """Fraction of the images whose prediction is kept."""

    accuracy: float
    """Of the kept predictions; 0 if there are none."""

    risk_coverage: Sequence[tuple[float, float]]
    """Coverage, and the fraction of the kept predictions that is wrong, by rising coverage."""


@dataclass(frozen=True)
class CalibrationReport:
    """All that the report says about calibration."""

    temperature: float
    before: Reliability
    after: Reliability
    selective: SelectivePrediction


def measure_calibration(predictions: Predictions, *, target_accuracy: float) -> CalibrationReport:
    """Measure the calibration of the predictions for the test images."""
    is_correct, confidence = predictions.is_correct, predictions.confidence
    threshold = find_threshold(predictions.calibration, target_accuracy=target_accuracy)
    is_kept = confidence >= threshold.probability if threshold else np.zeros(len(confidence), dtype=bool)
    return CalibrationReport(
        temperature=predictions.calibration.temperature,
        before=Reliability(bin_predictions(predictions.raw_confidence, is_correct)),
        after=Reliability(bin_predictions(confidence, is_correct)),
        selective=SelectivePrediction(
            target_accuracy=target_accuracy,
            threshold=threshold,
            coverage=float(is_kept.mean()),
            accuracy=float(is_correct[is_kept].mean()) if is_kept.any() else 0.0,
            risk_coverage=trace_risk_coverage(confidence, is_correct),
        ),
    )


def bin_predictions(confidence: Floats, is_correct: Bools) -> list[Bin]:
    """Sort predictions (N,) into 15 bins of equal width over [0, 1]; empty bins are left out."""
    bin_of = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    num_images = np.bincount(bin_of, minlength=NUM_BINS)
    sums = np.bincount(bin_of, weights=confidence, minlength=NUM_BINS)
    num_correct = np.bincount(bin_of, weights=is_correct, minlength=NUM_BINS)
    return [
        Bin(int(num_images[at]), float(sums[at] / num_images[at]), float(num_correct[at] / num_images[at]))
        for at in np.flatnonzero(num_images)
    ]


def trace_risk_coverage(confidence: Floats, is_correct: Bools) -> list[tuple[float, float]]:
    """Return up to 200 points of the risk-coverage curve: the most confident predictions are kept first.

    Predictions of equal confidence are kept or rejected together.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    is_last_of_tie = np.append(falling[1:] != falling[:-1], True)
    num_kept = np.arange(1, len(order) + 1)
    risks = np.cumsum(~is_correct[order]) / num_kept
    ends = np.flatnonzero(is_last_of_tie)
    thinned = np.unique(np.linspace(0, len(ends) - 1, min(_MAX_POINTS, len(ends))).round().astype(np.int64))
    return [(float(num_kept[at] / len(order)), float(risks[at])) for at in ends[thinned]]
