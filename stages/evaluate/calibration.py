"""Calibration on the test split: confidence against accuracy, and whether the promises were kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.vision.checkpoint import Calibration
from stages.evaluate.predictions import Bools, Floats, Ints, Predictions, split_rows
from stages.vision.binomial import estimate_share
from stages.vision.guarantees import (
    explain_no_sets,
    explain_no_threshold,
    find_set_threshold,
    find_threshold,
)

NUM_BINS = 15
_MIN_BIN_IMAGES = 20
SET_COVERAGES = (0.9, 0.95, 0.99)
_MAX_POINTS = 200
_NUM_RESAMPLES = 500
_REACH = 2.3  # standard errors; with 1.96, too few intervals held the true error
_SEED = 0


@dataclass(frozen=True)
class Share:
    """A fraction of some test images, with its 95 % confidence interval."""

    value: float
    low: float
    high: float


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
    confidence: float
    """How sure the validation split must be of the target."""

    threshold: float | None
    """Lowest probability that is kept; None if the validation split cannot promise the target."""

    why_none: str
    """Why it cannot; empty if there is a threshold."""

    coverage: float
    """Fraction of the images whose prediction is kept."""

    accuracy: Share | None
    """Of the kept predictions; None if there are none."""

    risk_coverage: Sequence[tuple[float, float]]
    """Coverage, and the fraction of the kept predictions that is wrong, by rising coverage."""


@dataclass(frozen=True)
class PredictionSets:
    """Sets of classes that should hold the true one so often, on the test split."""

    target: float
    why_none: str
    """Why the validation split cannot tell such sets; empty if it can."""

    coverage: Share | None
    """Fraction of the images whose set holds the true class."""

    mean_size: float | None
    """Classes in a set."""


@dataclass(frozen=True)
class CalibrationReport:
    """All that the report says about calibration."""

    temperature: float
    before: Reliability
    after: Reliability
    ece: Share
    """After temperature scaling."""

    ece_by_chance: float
    """What the error of a calibrated network stays below in 99 % of such test splits."""

    selective: SelectivePrediction
    sets: Sequence[PredictionSets]


def measure_calibration(
    predictions: Predictions, groups: Ints, *, target_accuracy: float, confidence: float
) -> CalibrationReport:
    """Measure the calibration of the predictions for N test images.

    Args:
        predictions: For the test images.
        groups: int64 (N,), the group of each image, from 0 without gaps.
        target_accuracy: Of the predictions that are kept.
        confidence: How sure the validation split must be of it.
    """
    is_correct, probability = predictions.is_correct, predictions.confidence
    ece, by_chance = estimate_ece(probability, is_correct, groups)
    return CalibrationReport(
        temperature=predictions.calibration.temperature,
        before=Reliability(bin_predictions(predictions.raw_confidence, is_correct)),
        after=Reliability(bin_predictions(probability, is_correct)),
        ece=ece,
        ece_by_chance=by_chance,
        selective=_reject(predictions, groups, target_accuracy=target_accuracy, confidence=confidence),
        sets=[_measure_sets(predictions, groups, coverage=coverage) for coverage in SET_COVERAGES],
    )


def measure_share(is_counted: Bools, groups: Ints) -> Share:
    """Return the fraction of images (N,) that are counted; N is at least 1."""
    return Share(float(is_counted.mean()), *estimate_share(is_counted, groups))


def assign_bins(confidence: Floats) -> Ints:
    """Return int64 (N,): the bin of each, of up to 15 with equally many images; equal confidences share one.

    Few images have fewer bins: in 15 bins, 100 images of a calibrated network show an error of .12.
    """
    num_bins = min(NUM_BINS, max(1, len(confidence) // _MIN_BIN_IMAGES))
    edges = np.percentile(confidence, np.linspace(0, 1, num_bins + 1) * 100)
    return np.searchsorted(edges[1:-1], confidence)


def bin_predictions(confidence: Floats, is_correct: Bools) -> list[Bin]:
    """Sort predictions (N,) into up to 15 bins with equally many images; empty bins are left out.

    Of bins of equal width the last would hold most images of a good network, and hide their gaps.
    """
    bin_of = assign_bins(confidence)
    num_images = np.bincount(bin_of, minlength=NUM_BINS)
    sums = np.bincount(bin_of, weights=confidence, minlength=NUM_BINS)
    num_correct = np.bincount(bin_of, weights=is_correct, minlength=NUM_BINS)
    return [
        Bin(int(num_images[at]), float(sums[at] / num_images[at]), float(num_correct[at] / num_images[at]))
        for at in np.flatnonzero(num_images)
    ]


def estimate_ece(confidence: Floats, is_correct: Bools, groups: Ints) -> tuple[Share, float]:
    """Return the expected calibration error with its interval, and what chance alone makes of it.

    Gaps of a few images never cancel out, so that even a calibrated network has an error above 0, and more in
    every resample. The interval is therefore moved down by the bias of the bootstrap, its lower end twice
    because some is left, and it begins at 0 where a calibrated network would show such an error: labels are
    drawn as the confidences say, those of a group with one random number. Its measured coverage:
    docs/decisions/029.

    Args:
        confidence: (N,), probability of each image's most probable class.
        is_correct: bool (N,), whether that is the true class.
        groups: int64 (N,), the group of each image, from 0 without gaps.
    """
    bin_of, num_groups = assign_bins(confidence), int(groups.max()) + 1
    generator = np.random.default_rng(_SEED)
    gaps = confidence - is_correct

    def measure(gap: Floats, weights: Floats) -> float:
        sums = np.bincount(bin_of, weights=weights * gap, minlength=NUM_BINS)
        return float(np.abs(sums).sum() / weights.sum())

    ones = np.ones(len(gaps))
    value = measure(gaps, ones)
    resampled, by_chance = np.empty(_NUM_RESAMPLES), np.empty(_NUM_RESAMPLES)
    for number in range(_NUM_RESAMPLES):
        drawn = np.bincount(generator.integers(num_groups, size=num_groups), minlength=num_groups)
        resampled[number] = measure(gaps, drawn.astype(np.float64)[groups])
        by_chance[number] = measure(confidence - (generator.random(num_groups)[groups] < confidence), ones)
    bias, reach = float(resampled.mean()) - value, _REACH * float(resampled.std())
    most = float(np.percentile(by_chance, 99))
    low = 0.0 if value <= most else max(0.0, value - 2 * bias - reach)
    return Share(value, min(low, value), min(1.0, max(value - bias + reach, value))), most


def _reject(
    predictions: Predictions, groups: Ints, *, target_accuracy: float, confidence: float
) -> SelectivePrediction:
    calibration, is_correct = predictions.calibration, predictions.is_correct
    target = {"target_accuracy": target_accuracy, "confidence": confidence}
    threshold = find_threshold(calibration, **target)
    is_kept = predictions.confidence >= (2.0 if threshold is None else threshold)
    return SelectivePrediction(
        **target,
        threshold=threshold,
        why_none="" if threshold is not None else explain_no_threshold(calibration, **target),
        coverage=float(is_kept.mean()),
        accuracy=measure_share(is_correct[is_kept], groups[is_kept]) if is_kept.any() else None,
        risk_coverage=trace_risk_coverage(predictions.confidence, is_correct),
    )


def _measure_sets(predictions: Predictions, groups: Ints, *, coverage: float) -> PredictionSets:
    """Measure prediction sets: all classes from a threshold on, and the most probable one."""
    calibration: Calibration = predictions.calibration
    threshold = find_set_threshold(calibration, coverage=coverage)
    if threshold is None:
        return PredictionSets(coverage, explain_no_sets(calibration, coverage=coverage), None, None)
    is_in_set = (predictions.label_probability >= threshold) | predictions.is_correct
    sizes = [
        np.maximum(1, (predictions.probabilities(block) >= threshold).sum(dim=1).numpy())
        for block in split_rows(predictions.num_images, num_columns=predictions.num_classes)
    ]
    return PredictionSets(
        target=coverage,
        why_none="",
        coverage=measure_share(is_in_set, groups),
        mean_size=float(np.concatenate(sizes).mean()),
    )


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
