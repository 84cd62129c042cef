"""The metrics on the test split, with 95 % confidence intervals; scores and confusions of each class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from schemas.shared.manifest import LeakRelation
from stages.evaluate.calibration import CalibrationReport
from stages.evaluate.curves import CurveAreas
from stages.evaluate.intervals import estimate_mean_share, estimate_smooth
from stages.evaluate.predictions import Bools, Floats, Ints, Predictions, split_by_class, split_rows
from stages.vision import scores
from stages.vision.binomial import Interval, estimate_share
from stages.vision.guarantees import count_effective
from stages.vision.scores import Tally, divide, tally_confusion

_MAX_PAIRS = 10
_MAX_PAIRS_OF_MANY_CLASSES = 30
_MAX_MATRIX_CLASSES = 30
_NUM_CHOSEN_CLASSES = 20

_STEP = 1e-4
"""Of a count, for its derivative: fine enough for the curvature, coarse enough for rounding."""

MIN_CLASS_GROUPS = 5.0
"""A mean over the classes has no interval if one of them has fewer groups, effectively: in 10 classes of one
to four groups, .70 of the intervals contained the truth."""

_MEANS_OVER_CLASSES = ("macro_f1", "roc_auc", "average_precision")
_CORRELATIONS = ("matthews_correlation", "cohens_kappa")
"""Without variance among the labels or the predictions they are 0 by definition, and have no derivative."""

_BOUNDS: Mapping[str, tuple[float, float | None]] = {
    "matthews_correlation": (-1.0, 1.0),
    "cohens_kappa": (-1.0, 1.0),
    "log_loss": (0.0, None),
}
"""Lowest and highest value of the metrics that are not fractions."""


@dataclass(frozen=True)
class Estimate:
    """A metric on the test split, with its 95 % confidence interval."""

    name: str
    value: float
    interval: Interval | None
    """None where the test images are too few for one that could be believed."""


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
    return divide(agreement, np.sqrt(np.maximum(of_labels * of_predicted, 0.0)))


def cohens_kappa(tally: Tally) -> Floats:
    """Return the agreement of true and predicted classes beyond chance; 0 where chance explains all of it.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    by_chance = (tally.support * tally.predicted).sum(axis=-1)
    return divide(tally.correct.sum(axis=-1) * tally.total - by_chance, tally.total**2 - by_chance)


TALLY_METRICS: Mapping[str, Callable[[Tally], Floats]] = {
    "balanced_accuracy": scores.balanced_accuracy,
    "macro_f1": scores.macro_f1,
    "weighted_f1": weighted_f1,
    "matthews_correlation": matthews_correlation,
    "cohens_kappa": cohens_kappa,
}
"""Metrics, other than shares of the images, that follow from the counts of each class."""


def estimate_metrics(
    predictions: Predictions, *, areas: CurveAreas, groups: Ints, top_k: int
) -> list[Estimate]:
    """Return every metric with its interval.

    Args:
        predictions: For N test images.
        areas: The areas under their curves.
        groups: int64 (N,), from 0 without gaps: the group of each image.
        top_k: How many of the most probable classes top_k_accuracy looks at.
    """
    is_correct, losses = predictions.is_correct, predictions.losses
    is_among_top = predictions.label_rank < top_k
    smooth = {name: differentiate(metric, predictions) for name, metric in TALLY_METRICS.items()}
    smooth["log_loss"] = float(losses.mean()), (losses - losses.mean()) / predictions.num_images
    smooth["roc_auc"] = areas.roc_auc.mean, areas.roc_auc.influence
    smooth["average_precision"] = areas.average_precision.mean, areas.average_precision.influence
    balanced_accuracy, _ = smooth.pop("balanced_accuracy")
    labels = predictions.labels
    smallest = min(count_effective(groups[images]) for images in filter(len, split_by_class(labels)))
    is_constant = any(np.ptp(classes) == 0 for classes in (labels, predictions.predicted))

    def estimate(name: str, value: float, influence: Floats) -> Estimate:
        is_rough = name in _MEANS_OVER_CLASSES and smallest < MIN_CLASS_GROUPS
        if is_rough or (name in _CORRELATIONS and is_constant):
            return Estimate(name, value, None)
        bounds = _BOUNDS.get(name, (0.0, 1.0))
        return Estimate(name, value, estimate_smooth(value, influence, groups, bounds=bounds))

    return [
        Estimate("accuracy", float(is_correct.mean()), estimate_share(is_correct, groups)),
        Estimate(
            "balanced_accuracy",
            balanced_accuracy,
            estimate_mean_share(is_correct, groups, labels),
        ),
        Estimate("top_k_accuracy", float(is_among_top.mean()), estimate_share(is_among_top, groups)),
        *(estimate(name, value, influence) for name, (value, influence) in smooth.items()),
    ]


def differentiate(metric: Callable[[Tally], Floats], predictions: Predictions) -> tuple[float, Floats]:
    """Return a metric of the classes' counts, and its derivative by each image's weight, (N,).

    The derivative by each count is a central difference. An image takes part in the counts of its label and
    of its predicted class.
    """
    tally = tally_confusion(predictions.confusion)
    counts = np.stack([tally.correct, tally.support, tally.predicted])
    slopes = np.empty(counts.size)

    def compute(some: Floats) -> Floats:
        return metric(Tally(correct=some[:, 0], support=some[:, 1], predicted=some[:, 2]))

    for block in split_rows(counts.size, num_columns=counts.size):
        steps = np.zeros((block.stop - block.start, counts.size))
        steps[np.arange(len(steps)), np.arange(block.start, block.stop)] = _STEP
        steps = steps.reshape(-1, *counts.shape)
        slopes[block] = (compute(counts + steps) - compute(counts - steps)) / (2 * _STEP)
    by_correct, by_support, by_predicted = slopes.reshape(counts.shape)
    influence = by_support[predictions.labels] + by_predicted[predictions.predicted]
    return float(metric(tally)), influence + by_correct[predictions.labels] * predictions.is_correct


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
    """Return what goes into data/report/metrics.json, from what was measured on these predictions."""
    value = {estimate.name: estimate.value for estimate in estimates}
    accepted = calibration.selective.accuracy
    return TestMetrics(
        num_images=predictions.num_images,
        log_loss=value["log_loss"],
        accuracy=value["accuracy"],
        balanced_accuracy=value["balanced_accuracy"],
        macro_f1=value["macro_f1"],
        matthews_correlation=value["matthews_correlation"],
        roc_auc=value["roc_auc"],
        average_precision=value["average_precision"],
        top_k_accuracy=value["top_k_accuracy"],
        ece=calibration.ece.value,
        coverage=calibration.selective.coverage,
        answered_accuracy=accepted.value if accepted else None,
        majority_accuracy=float(np.bincount(predictions.labels).max() / predictions.num_images),
        accuracy_without_leaks=leaks.accuracy_without,
    )


def score_classes(
    predictions: Predictions,
    *,
    classes: Sequence[str],
    groups: Ints,
    average_precision: Sequence[float | None],
) -> list[ClassScores]:
    """Return the scores of each class, in class order.

    Args:
        predictions: For N test images.
        classes: Class names (C,).
        groups: int64 (N,), the group of each image.
        average_precision: Of each class (C,).
    """
    tally = tally_confusion(predictions.confusion)
    columns = (tally.support, scores.precision(tally), scores.recall(tally), scores.f1(tally))
    rows = zip(classes, *(column.tolist() for column in columns), average_precision, strict=True)
    is_correct, by_class = predictions.is_correct, iter(split_by_class(predictions.labels))
    scored = []
    for label, support, precision, recall, f1, area in rows:
        images = next(by_class, ())  # the last classes may have none
        interval = estimate_share(is_correct[images], groups[images]) if support else None
        scored.append(
            ClassScores(
                label=label,
                support=int(support),
                precision=precision,
                recall=recall,
                recall_low=interval.low if interval else None,
                recall_high=interval.high if interval else None,
                f1=f1,
                average_precision=area,
            )
        )
    return scored


def find_hardest_class(predictions: Predictions, groups: Ints) -> int | None:
    """Return the class with the lowest recall, if more than chance sets it apart from the other classes.

    Its interval, widened because it was picked out of all classes, must lie below that of all the others.
    """
    recall = scores.recall(tally_confusion(predictions.confusion))
    support = predictions.confusion.sum(axis=1)
    tested = np.flatnonzero(support)
    hardest = int(tested[np.argmin(recall[tested])])
    of_class = predictions.labels == hardest
    if len(tested) < 2:
        return None
    own, others = (
        estimate_share(predictions.is_correct[some], groups[some], num_comparisons=number)
        for some, number in ((of_class, len(tested)), (~of_class, 1))
    )
    return hardest if own.high < others.low else None


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
