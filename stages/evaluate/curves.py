"""ROC and precision-recall curves of each class against all others: their areas, and points to draw.

Besides ROC AUC and average precision, as scikit-learn defines them, each image's influence on their mean is
computed. From it follows a standard error without ranking the images of many resamples, which takes minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.evaluate.predictions import Bools, Floats, Ints, Predictions

MAX_CURVES = 20
_MAX_POINTS = 100

Point = tuple[float, float]


@dataclass(frozen=True)
class Areas:
    """The area under one sort of curve for every class, and how each image bears on their mean."""

    by_class: Sequence[float | None]
    """(C,), None for a class without test images; for the ROC AUC, also for a class of all test images."""

    mean: float
    """Over the classes that have an area."""

    influence: Floats
    """(N,), derivative of the mean by the image's weight; adds up to 0."""


@dataclass(frozen=True)
class CurveAreas:
    """The areas under both sorts of curves."""

    roc_auc: Areas
    average_precision: Areas


@dataclass(frozen=True)
class ClassCurves:
    """The curves of one class as its threshold falls."""

    label: int
    """Position of the class."""

    precision_recall: Sequence[Point]
    """Recall and precision, by rising recall."""

    roc: Sequence[Point]
    """False and true positive rate, from (0, 0) to (1, 1); empty if all images are of the class."""


@dataclass(frozen=True)
class Ranking:
    """Images by falling score in K steps: lowering the threshold takes in all images of one score at once."""

    order: Ints
    """(N,), the images."""

    is_positive: Bools
    """(N,), whether each is of the class, in that order."""

    step_sizes: Ints
    """(K,), images in each step."""

    num_positive: Floats
    """(K,), images of the class taken in so far."""

    num_taken: Floats
    """(K,), images taken in so far."""

    @property
    def new_positive(self) -> Floats:
        """Return (K,), images of the class in each step."""
        return np.diff(self.num_positive, prepend=0.0)

    def per_image(self, of_positive: Floats, of_negative: Floats) -> Floats:
        """Return a value for each image (N,), in order, from those of the steps (K,)."""
        return np.where(
            self.is_positive, np.repeat(of_positive, self.step_sizes), np.repeat(of_negative, self.step_sizes)
        )


def measure_areas(predictions: Predictions) -> CurveAreas:
    """Return ROC AUC and average precision of each class, one against the rest.

    If all images are of one class there is nothing to tell apart, and the mean AUC is chance: 0.5.
    """
    num_images, num_classes = predictions.num_images, predictions.num_classes
    influence = np.zeros((2, num_images))
    areas: list[tuple[float | None, float | None]] = [(None, None)] * num_classes
    support = np.bincount(predictions.labels, minlength=num_classes)
    for label, scores in predictions.class_probabilities(np.flatnonzero(support).tolist()):
        ranking = rank_images(scores, predictions.labels == label)
        precision, precision_influence = _compute_average_precision(ranking)
        auc, auc_influence = None, np.zeros(num_images)
        if support[label] < num_images:
            auc, auc_influence = _compute_roc_auc(ranking)
        influence[:, ranking.order] += auc_influence, precision_influence
        areas[label] = auc, precision
    aucs, precisions = zip(*areas, strict=True)
    return CurveAreas(
        roc_auc=_average(aucs, influence[0], otherwise=0.5),
        average_precision=_average(precisions, influence[1], otherwise=0.0),
    )


def trace_curves(predictions: Predictions) -> list[ClassCurves]:
    """Return the curves of the 20 classes with the most test images, in class order.

    The choice depends on the data alone, so that the curves of two networks can be compared.
    """
    support = np.bincount(predictions.labels, minlength=predictions.num_classes)
    largest = np.argsort(-support, kind="stable")[:MAX_CURVES]
    curves = []
    for label, scores in predictions.class_probabilities(sorted(largest[support[largest] > 0].tolist())):
        ranking = rank_images(scores, predictions.labels == label)
        curves.append(ClassCurves(label, _trace_precision_recall(ranking), _trace_roc(ranking)))
    return curves


def rank_images(scores: Floats, is_positive: Bools) -> Ranking:
    """Sort images by their scores (N,), the highest first."""
    order = np.argsort(-scores)
    sorted_scores = scores[order]
    last = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True))
    positive = is_positive[order]
    return Ranking(
        order=order,
        is_positive=positive,
        step_sizes=np.diff(last, prepend=-1),
        num_positive=np.cumsum(positive)[last].astype(np.float64),
        num_taken=(last + 1).astype(np.float64),
    )


def _average(by_class: Sequence[float | None], influence: Floats, *, otherwise: float) -> Areas:
    known = [value for value in by_class if value is not None]
    mean = sum(known) / len(known) if known else otherwise
    return Areas(by_class, mean, influence / max(1, len(known)))


def _compute_average_precision(ranking: Ranking) -> tuple[float, Floats]:
    """Return the mean precision at the class's images, and its derivative by each image's weight."""
    total = ranking.num_positive[-1]
    precision = ranking.num_positive / ranking.num_taken
    value = float((ranking.new_positive * precision).sum() / total)
    # An image enters the precision at its own step and at every step below it.
    gained = _sum_from_below(ranking.new_positive / ranking.num_taken)
    lost = _sum_from_below(ranking.new_positive * precision / ranking.num_taken)
    return value, ranking.per_image(precision - value + gained - lost, -lost) / total


def _compute_roc_auc(ranking: Ranking) -> tuple[float, Floats]:
    """Return how often an image of the class outscores another image, and its derivative as above.

    Source of the derivative: DeLong et al. 1988, doi:10.2307/2531595, its structural components.
    """
    num_negative = ranking.num_taken - ranking.num_positive
    new_positive, new_negative = ranking.new_positive, np.diff(num_negative, prepend=0.0)
    total, others = ranking.num_positive[-1], num_negative[-1]
    above = (ranking.num_positive - new_positive / 2) / total
    below = (others - num_negative + new_negative / 2) / others
    value = float((new_negative * above).sum() / others)
    return value, ranking.per_image((below - value) / total, (above - value) / others)


def _sum_from_below(values: Floats) -> Floats:
    """Return for each step the sum over itself and all steps below it."""
    return np.cumsum(values[::-1])[::-1]


def _trace_precision_recall(ranking: Ranking) -> list[Point]:
    # Only steps that take in an image of the class: in between, precision just falls.
    steps = np.flatnonzero(ranking.new_positive)
    recall = ranking.num_positive[steps] / ranking.num_positive[-1]
    precision = ranking.num_positive[steps] / ranking.num_taken[steps]
    points = [(float(recall[at]), float(precision[at])) for at in _thin_out(recall)]
    return [(0.0, points[0][1]), *points]


def _trace_roc(ranking: Ranking) -> list[Point]:
    num_negative = ranking.num_taken - ranking.num_positive
    if num_negative[-1] == 0:
        return []
    true_rate, false_rate = ranking.num_positive / ranking.num_positive[-1], num_negative / num_negative[-1]
    chosen = _thin_out(true_rate + false_rate)
    return [(0.0, 0.0), *((float(false_rate[at]), float(true_rate[at])) for at in chosen)]


def _thin_out(rising: Floats) -> Ints:
    """Return up to 100 positions about evenly spaced along a rising curve (K,), both ends included."""
    wanted = np.linspace(rising[0], rising[-1], _MAX_POINTS)
    return np.unique(np.minimum(np.searchsorted(rising, wanted), len(rising) - 1))
