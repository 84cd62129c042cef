"""How well a network answers, from how often each class was true, answered, and both."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


def count_confusion(labels: Counts, predicted: Counts, *, num_classes: int) -> Counts:
    """Return the confusion matrix, int64 (C, C): rows are true classes, columns predicted ones."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(
        num_classes, num_classes
    )


@dataclass(frozen=True)
class Tally:
    """How often each class was true, answered, and both: (..., C), of one or many sets of answers."""

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
    """Return the share of images answered correctly, (...)."""
    return divide(tally.right.sum(axis=-1), tally.total)


def recall(tally: Tally) -> Numbers:
    """Return, for each class (..., C), which share of its images was found; 0 for a class without images."""
    return divide(tally.right, tally.support)


def precision(tally: Tally) -> Numbers:
    """Return, for each class (..., C), which share of the answers naming it was right; 0 if none named it."""
    return divide(tally.right, tally.answers)


def f1(tally: Tally) -> Numbers:
    """Return the harmonic mean of precision and recall for each class (..., C)."""
    return divide(2 * tally.right, tally.support + tally.answers)


def balanced_accuracy(tally: Tally) -> Numbers:
    """Return the mean recall over the classes that have images, (...)."""
    return divide(recall(tally).sum(axis=-1), (tally.support > 0).sum(axis=-1))


def macro_f1(tally: Tally) -> Numbers:
    """Return the mean F1 over the classes that have images or were named, (...)."""
    return divide(f1(tally).sum(axis=-1), (tally.support + tally.answers > 0).sum(axis=-1))


def divide(numerators: npt.NDArray[np.generic], denominators: npt.NDArray[np.generic]) -> Numbers:
    """Divide arrays of shapes that fit each other, with 0 where there is nothing to divide by."""
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)
