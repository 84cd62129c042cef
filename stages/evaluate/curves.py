"""Precision-recall and ROC curves of a few classes, at a few places each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.answers import Answers
from stages.evaluate.ranking import Steps, rank_images

MAX_CLASSES = 20
_MAX_POINTS = 100

Place = tuple[float, float]


@dataclass(frozen=True)
class ClassCurves:
    """How one class is told from all others as its threshold falls."""

    label: int
    """Position of the class."""

    precision_recall: Sequence[Place]
    """Recall and precision, by rising recall."""

    roc: Sequence[Place]
    """False and true positive rate, from (0, 0) to (1, 1); none if all images are of the class."""


def trace_curves(answers: Answers) -> list[ClassCurves]:
    """Return the curves of the classes with the most test images, in the order of the classes.

    Which classes these are is a matter of the data, not of the answers, so that two networks can be laid over
    each other.
    """
    support = np.bincount(answers.labels, minlength=answers.num_classes)
    largest = np.argsort(-support, kind="stable")[:MAX_CLASSES]
    curves = []
    for label, scores in answers.each_column(sorted(largest[support[largest] > 0].tolist())):
        steps = rank_images(scores, answers.labels == label)
        curves.append(ClassCurves(label, _trace_precision(steps), _trace_roc(steps)))
    return curves


def _trace_precision(steps: Steps) -> list[Place]:
    """Return the places at which an image of the class comes in: between them precision only falls."""
    places = np.flatnonzero(steps.new_positive)
    recall = steps.num_positive[places] / steps.num_positive[-1]
    precision = steps.num_positive[places] / steps.num_taken[places]
    chosen = _spread(recall)
    points = [(float(recall[at]), float(precision[at])) for at in chosen]
    return [(0.0, points[0][1]), *points]


def _trace_roc(steps: Steps) -> list[Place]:
    num_negative = steps.num_taken - steps.num_positive
    if num_negative[-1] == 0:
        return []
    true_rate, false_rate = steps.num_positive / steps.num_positive[-1], num_negative / num_negative[-1]
    chosen = _spread(true_rate + false_rate)
    return [(0.0, 0.0), *((float(false_rate[at]), float(true_rate[at])) for at in chosen)]


def _spread(rising: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return at most 100 positions at which a rising curve (K,) is about evenly far, the ends among them."""
    wanted = np.linspace(rising[0], rising[-1], _MAX_POINTS)
    return np.unique(np.minimum(np.searchsorted(rising, wanted), len(rising) - 1))
