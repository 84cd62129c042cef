"""The metrics on the test split, with 95 % confidence intervals; scores and confusions of each class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from schemas.shared.manifest import LeakRelation
from stages.evaluate.calibration import CalibrationReport
from stages.evaluate.curves import CurveAreas
from stages.evaluate.intervals import resample_groups, take_percentiles
from stages.evaluate.predictions import Bools, Floats, Ints, Predictions
from stages.vision import scores
from stages.vision.scores import Tally, divide, tally_confusion

_MAX_PAIRS = 10
_MAX_PAIRS_OF_MANY_CLASSES = 30
_MAX_MATRIX_CLASSES = 30
_NUM_CHOSEN_CLASSES = 20


@dataclass(frozen=True)
class Estimate:
    """A metric on the test split, with its 95 % confidence interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LeakReport:
    """Test images that have a copy, a near duplicate or an image of their group in training or validation."""

    counts: Mapping[LeakRelation, int]
    """How many, by the closest relation of each; empty without leaks."""

    accuracy_without: float | None
    """On all other test images; None without leaks, and if no others are left."""

    @property
    def num_images(self) -> int:
        """Return how many they are."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class ConfusedPair:
    """A true class and the wrong class predicted for some of its images, as positions in the classes."""

    label: int
    predicted: int
    count: int
    fraction: float
    """Of the images of the true class."""


def weighted_f1(tally: Tally) -> Floats:
    """Return the mean F1 over the images: large classes count for more."""
    return divide((scores.f1(tally) * tally.support).sum(axis=-1), tally.total)


def matthews_correlation(tally: Tally) -> Floats:
    """Return the correlation of true and predicted classes; 0 where one of them is constant.

    Source: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient.
    """
    agreement = tally.correct.sum(axis=-1) * tally.total - (tally.support * tally.predicted).sum(axis=-1)
    of_labels, of_predicted = (
        tally.total**2 - (counts**2).sum(axis=-1) for counts in (tally.support, tally.predicted)
    )
    return divide(agreement, np.sqrt(of_labels * of_predicted))


def cohens_kappa(tally: Tally) -> Floats:
    """Return the agreement of true and predicted classes beyond chance; 0 where chance explains all of it.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    by_chance = (tally.support * tally.predicted).sum(axis=-1)
    return divide(tally.correct.sum(axis=-1) * tally.total - by_chance, tally.total**2 - by_chance)


TALLY_METRICS: Mapping[str, Callable[[Tally], Floats]] = {
    "accuracy": scores.accuracy,
    "balanced_accuracy": scores.balanced_accuracy,
    "macro_f1": scores.macro_f1,
    "weighted_f1": weighted_f1,
    "matthews_correlation": matthews_correlation,
    "cohens_kappa": cohens_kappa,
}
"""Metrics that follow from the counts of each class, for many resamples at once."""


def estimate_metrics(
    predictions: Predictions, *, areas: CurveAreas, groups: Ints, top_k: int
) -> list[Estimate]:
    """Return every metric with its interval, the same in every run.

    The images of a resample are not ranked again for ROC AUC and average precision: to first order the areas
    change by the sum of the influences of the drawn images. A test compares these intervals with those of the
    plain bootstrap.
    Source: the infinitesimal jackknife; Efron and Tibshirani 1993, chapter 21.

    Args:
        predictions: For N test images.
        areas: The areas under their curves.
        groups: int64 (N,), from 0 without gaps: the group of each image.
        top_k: How many of the most probable classes top_k_accuracy looks at.
    """
    means = {
        "top_k_accuracy": (predictions.label_rank < top_k).astype(np.float64),
        "loss": predictions.losses,
    }
    curve_areas = {"roc_auc": areas.roc_auc, "average_precision": areas.average_precision}
    image_values = np.stack([*means.values(), *(each.influence for each in curve_areas.values())], axis=1)
    tallies, sums = resample_groups(predictions, groups=groups, image_values=image_values)
    resampled_means = sums / tallies.total[:, None]
    tally = tally_confusion(predictions.confusion)
    estimates = [
        _estimate(name, float(metric(tally)), metric(tallies)) for name, metric in TALLY_METRICS.items()
    ]
    for column, (name, values) in enumerate(means.items()):
        estimates.append(_estimate(name, float(values.mean()), resampled_means[:, column]))
    for column, (name, area) in enumerate(curve_areas.items(), start=len(means)):
        shifts = predictions.num_images * resampled_means[:, column]
        estimates.append(_estimate(name, area.mean, np.clip(area.mean + shifts, 0, 1)))
    return estimates


def _estimate(name: str, value: float, resampled: Floats) -> Estimate:
    return Estimate(name, value, *take_percentiles(resampled))


def measure_leaks(relations: Sequence[str], is_correct: Bools) -> LeakReport:
    """Return what the leaks do to the accuracy.

    Args:
        relations: The column leak of the index (N,): empty for an image that shares nothing with training.
        is_correct: bool (N,), whether each prediction is correct.
    """
    counts = {relation: relations.count(relation) for relation in get_args(LeakRelation)}
    counts = {relation: count for relation, count in counts.items() if count}
    is_clean = np.array([relation == "" for relation in relations])
    measurable = bool(counts) and bool(is_clean.any())
    return LeakReport(counts, float(is_correct[is_clean].mean()) if measurable else None)


def collect_metrics(
    predictions: Predictions,
    *,
    estimates: Sequence[Estimate],
    calibration: CalibrationReport,
    leaks: LeakReport,
) -> TestMetrics:
    """Return what goes into data/metrics/test.json, from what was measured on these predictions."""
    value = {estimate.name: estimate.value for estimate in estimates}
    return TestMetrics(
        num_images=predictions.num_images,
        loss=value["loss"],
        accuracy=value["accuracy"],
        balanced_accuracy=value["balanced_accuracy"],
        macro_f1=value["macro_f1"],
        matthews_correlation=value["matthews_correlation"],
        roc_auc=value["roc_auc"],
        average_precision=value["average_precision"],
        top_k_accuracy=value["top_k_accuracy"],
        calibration_error=calibration.after.error,
        answered_fraction=calibration.selective.coverage,
        answered_accuracy=calibration.selective.accuracy,
        majority_accuracy=float(np.bincount(predictions.labels).max() / predictions.num_images),
        accuracy_without_leaks=leaks.accuracy_without,
    )


def score_classes(
    confusion: Ints, *, classes: Sequence[str], average_precision: Sequence[float | None]
) -> list[ClassScores]:
    """Return the scores of each class, in class order, for a confusion matrix (C, C)."""
    tally = tally_confusion(confusion)
    columns = (scores.precision(tally), scores.recall(tally), scores.f1(tally))
    return [
        ClassScores(
            label=label,
            support=int(support),
            precision=precision,
            recall=recall,
            f1=f1,
            average_precision=area,
        )
        for label, support, precision, recall, f1, area in zip(
            classes,
            confusion.sum(axis=1),
            *(column.tolist() for column in columns),
            average_precision,
            strict=True,
        )
    ]


def divide_rows(confusion: Ints) -> Floats:
    """Divide each row by its sum; a class without images keeps a row of zeros."""
    return divide(confusion, confusion.sum(axis=1, keepdims=True))


def count_confused_pairs(confusion: Ints) -> int:
    """Return how many pairs of different true and predicted classes occur."""
    return int(np.count_nonzero(confusion) - np.count_nonzero(np.diag(confusion)))


def rank_confused_pairs(confusion: Ints) -> list[ConfusedPair]:
    """Return the 10 pairs with the most mistakes, or 30 if there are more than 30 classes."""
    fractions = divide_rows(confusion)
    labels, predicted = np.nonzero(confusion * (1 - np.eye(len(confusion), dtype=np.int64)))
    counts, parts = confusion[labels, predicted], fractions[labels, predicted]
    num_pairs = _MAX_PAIRS if len(confusion) <= _MAX_MATRIX_CLASSES else _MAX_PAIRS_OF_MANY_CLASSES
    order = np.lexsort((predicted, labels, -parts, -counts))[:num_pairs]
    return [
        ConfusedPair(int(labels[at]), int(predicted[at]), int(counts[at]), float(parts[at])) for at in order
    ]


def choose_matrix_classes(confusion: Ints) -> list[int]:
    """Return the classes with a row in the report's confusion matrix: of many, the most often confused."""
    if len(confusion) <= _MAX_MATRIX_CLASSES:
        return list(range(len(confusion)))
    chosen: set[int] = set()
    for pair in rank_confused_pairs(confusion):
        if len(chosen | {pair.label, pair.predicted}) <= _NUM_CHOSEN_CLASSES:
            chosen |= {pair.label, pair.predicted}
    return sorted(chosen)
