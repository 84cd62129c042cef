"""Headline figures of answers, from counts of the classes alone: many resamples of them at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.vision.scores import Counts, divide

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """How often each class was true, answered, and both: (..., C), one or many test splits."""

    right: Numbers
    support: Numbers
    answers: Numbers

    @property
    def total(self) -> Numbers:
        """Return how many images there are, (...)."""
        return np.asarray(self.support.sum(axis=-1))


def tally_confusion(confusion: Counts) -> Tally:
    """Return the tally of confusion matrices (..., C, C), rows true classes."""
    return Tally(
        right=np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64),
        support=confusion.sum(axis=-1).astype(np.float64),
        answers=confusion.sum(axis=-2).astype(np.float64),
    )


def accuracy(tally: Tally) -> Numbers:
    """Return the share of right answers."""
    return divide(tally.right.sum(axis=-1), tally.total)


def balanced_accuracy(tally: Tally) -> Numbers:
    """Return the mean recall over the classes that have images."""
    recall = divide(tally.right, tally.support)
    return divide(recall.sum(axis=-1), (tally.support > 0).sum(axis=-1))


def macro_f1(tally: Tally) -> Numbers:
    """Return the mean F1 over the classes that have images or answers."""
    return divide(_f1(tally).sum(axis=-1), (tally.support + tally.answers > 0).sum(axis=-1))


def weighted_f1(tally: Tally) -> Numbers:
    """Return the mean F1 over the images: large classes count for more."""
    return divide((_f1(tally) * tally.support).sum(axis=-1), tally.total)


def matthews_correlation(tally: Tally) -> Numbers:
    """Return the correlation of true classes and answers; 0 where one of them is always the same.

    Source: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient.
    """
    agreement = tally.right.sum(axis=-1) * tally.total - (tally.support * tally.answers).sum(axis=-1)
    of_labels, of_answers = (
        tally.total**2 - (counts**2).sum(axis=-1) for counts in (tally.support, tally.answers)
    )
    return divide(agreement, np.sqrt(of_labels * of_answers))


def cohens_kappa(tally: Tally) -> Numbers:
    """Return the agreement of true classes and answers beyond chance; 0 where chance explains it all.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    by_chance = (tally.support * tally.answers).sum(axis=-1)
    return divide(tally.right.sum(axis=-1) * tally.total - by_chance, tally.total**2 - by_chance)


OF_TALLY: Mapping[str, Callable[[Tally], Numbers]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "matthews_correlation": matthews_correlation,
    "cohens_kappa": cohens_kappa,
}


def _f1(tally: Tally) -> Numbers:
    return divide(2 * tally.right, tally.support + tally.answers)
