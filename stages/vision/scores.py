"""Classification metrics from confusion matrices, for one matrix or for a stack of them.

All functions broadcast over leading dimensions, written (...) below. C is the number of classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """Images of each class by label, by prediction and by both, float64 (..., C)."""

    correct: Numbers
    """Images of the class that were predicted as such: true positives."""

    support: Numbers
    """Images of the class."""

    predicted: Numbers
    """Images predicted as the class."""

    @property
    def total(self) -> Numbers:
        """Return the number of images (...)."""
        return np.asarray(self.support.sum(axis=-1))


def count_confusion(labels: Counts, predicted: Counts, *, num_classes: int) -> Counts:
    """Return the confusion matrix int64 (C, C), rows being labels, for labels and predictions (N,)."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(
        num_classes, num_classes
    )


def tally_confusion(confusion: Counts) -> Tally:
    """Return the tally of confusion matrices (..., C, C), rows being labels."""
    return Tally(
        correct=np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64),
        support=confusion.sum(axis=-1).astype(np.float64),
        predicted=confusion.sum(axis=-2).astype(np.float64),
    )


def accuracy(tally: Tally) -> Numbers:
    """Return the fraction of images predicted correctly (...)."""
    return divide(tally.correct.sum(axis=-1), tally.total)


def recall(tally: Tally) -> Numbers:
    """Return the recall of each class (..., C); 0 for a class without images."""
    return divide(tally.correct, tally.support)


def precision(tally: Tally) -> Numbers:
    """Return the precision of each class (..., C); 0 for a class that was never predicted."""
    return divide(tally.correct, tally.predicted)


def f1(tally: Tally) -> Numbers:
    """Return the harmonic mean of precision and recall of each class (..., C)."""
    return divide(2 * tally.correct, tally.support + tally.predicted)


def balanced_accuracy(tally: Tally) -> Numbers:
    """Return the mean recall over the classes that have images (...)."""
    return divide(recall(tally).sum(axis=-1), (tally.support > 0).sum(axis=-1))


def macro_f1(tally: Tally) -> Numbers:
    """Return the mean F1 over the classes that have images or were predicted (...)."""
    return divide(f1(tally).sum(axis=-1), (tally.support + tally.predicted > 0).sum(axis=-1))


def divide(numerators: npt.NDArray[np.generic], denominators: npt.NDArray[np.generic]) -> Numbers:
    """Divide arrays that broadcast, giving 0 where the denominator is 0."""
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)
