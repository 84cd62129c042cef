"""How well each class's probability tells its images from the others: ROC AUC and average precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.answers import Answers
from stages.vision.scores import Numbers


@dataclass(frozen=True)
class Separation:
    """One of the two figures for every class, and what each image has to do with their mean."""

    by_class: Sequence[float | None]
    """(C,), None for a class that has no test images, or for the AUC all of them."""

    mean: float
    """Over the classes that have a figure."""

    influence: Numbers
    """(N,), derivative of the mean by how often an image counts; adds up to 0."""


@dataclass(frozen=True)
class Ranking:
    """Both figures."""

    roc_auc: Separation
    average_precision: Separation


def measure_ranking(answers: Answers) -> Ranking:
    """Return both figures of each class against all others, as scikit-learn has them.

    With images of a single class there is nothing to tell apart, and the mean AUC is chance: 0.5.
    """
    num_images, num_classes = answers.num_images, answers.num_classes
    influence = np.zeros((2, num_images))
    figures: list[tuple[float | None, float | None]] = [(None, None)] * num_classes
    support = np.bincount(answers.labels, minlength=num_classes)
    for label, scores in answers.each_column(np.flatnonzero(support).tolist()):
        steps = rank_images(scores, answers.labels == label)
        precision, of_precision = _average_precision(steps)
        area, of_area = _area(steps) if support[label] < num_images else (None, np.zeros(num_images))
        influence[:, steps.order] += of_area, of_precision
        figures[label] = area, precision
    areas, precisions = zip(*figures, strict=True)
    return Ranking(
        roc_auc=_summarise(areas, influence[0], otherwise=0.5),
        average_precision=_summarise(precisions, influence[1], otherwise=0.0),
    )


def _summarise(by_class: Sequence[float | None], influence: Numbers, *, otherwise: float) -> Separation:
    known = [value for value in by_class if value is not None]
    mean = sum(known) / len(known) if known else otherwise
    return Separation(by_class, mean, influence / max(1, len(known)))


@dataclass(frozen=True)
class Steps:
    """Images by falling score, those of equal score in one of K steps: lowering a threshold takes them in."""

    order: NDArray[np.int64]
    """(N,), the images."""

    is_positive: NDArray[np.bool_]
    """(N,), whether each is of the class, in that order."""

    lengths: NDArray[np.int64]
    """(K,), images in each step."""

    num_positive: Numbers
    """(K,), images of the class taken in so far."""

    num_taken: Numbers
    """(K,), images taken in so far."""

    @property
    def new_positive(self) -> Numbers:
        """Return (K,), images of the class in each step."""
        return np.diff(self.num_positive, prepend=0.0)

    def spread(self, of_positive: Numbers, of_negative: Numbers) -> Numbers:
        """Return each image's number (N,), in order, from those of its step (K,)."""
        return np.where(
            self.is_positive, np.repeat(of_positive, self.lengths), np.repeat(of_negative, self.lengths)
        )


def rank_images(scores: Numbers, is_positive: NDArray[np.bool_]) -> Steps:
    """Sort images by their scores (N,), the highest first."""
    order = np.argsort(-scores)
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    positive = is_positive[order]
    return Steps(
        order=order,
        is_positive=positive,
        lengths=np.diff(last, prepend=-1),
        num_positive=np.cumsum(positive)[last].astype(np.float64),
        num_taken=(last + 1).astype(np.float64),
    )


def _average_precision(steps: Steps) -> tuple[float, Numbers]:
    """Return the mean precision at the class's images, and its derivative by each image's count, in order."""
    total = steps.num_positive[-1]
    precision = steps.num_positive / steps.num_taken
    value = float((steps.new_positive * precision).sum() / total)
    # An image counts in the precision at its own step and at all below it.
    gained = _sum_below(steps.new_positive / steps.num_taken)
    lost = _sum_below(steps.new_positive * precision / steps.num_taken)
    return value, steps.spread(precision - value + gained - lost, -lost) / total


def _area(steps: Steps) -> tuple[float, Numbers]:
    """Return how often an image of the class outscores another one, and its derivative as above.

    Source of the derivative: DeLong et al. 1988, doi:10.2307/2531595, its structural components.
    """
    num_negative = steps.num_taken - steps.num_positive
    new_positive, new_negative = steps.new_positive, np.diff(num_negative, prepend=0.0)
    total, others = steps.num_positive[-1], num_negative[-1]
    above = (steps.num_positive - new_positive / 2) / total
    below = (others - num_negative + new_negative / 2) / others
    value = float((new_negative * above).sum() / others)
    return value, steps.spread((below - value) / total, (above - value) / others)


def _sum_below(values: Numbers) -> Numbers:
    """Return for each step the sum over itself and all below it."""
    return np.cumsum(values[::-1])[::-1]
