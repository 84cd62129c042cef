"""How well a network answers, from the confusion matrix."""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


def count_confusion(labels: Counts, predicted: Counts, *, num_classes: int) -> Counts:
    """Return the confusion matrix, int64 (C, C): rows are true classes, columns predicted ones."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(
        num_classes, num_classes
    )


def accuracy(confusion: Counts) -> float:
    """Return the share of images answered correctly."""
    return float(np.trace(confusion) / confusion.sum())


def recall(confusion: Counts) -> Shares:
    """Return, for each class (C,), which share of its images was found; 0 for a class without images."""
    return divide(np.diag(confusion), confusion.sum(axis=1))


def precision(confusion: Counts) -> Shares:
    """Return, for each class (C,), which share of the answers naming it was right; 0 if none named it."""
    return divide(np.diag(confusion), confusion.sum(axis=0))


def f1(confusion: Counts) -> Shares:
    """Return the harmonic mean of precision and recall for each class (C,)."""
    return divide(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def balanced_accuracy(confusion: Counts) -> float:
    """Return the mean recall over the classes that have images."""
    return float(recall(confusion)[confusion.sum(axis=1) > 0].mean())


def macro_f1(confusion: Counts) -> float:
    """Return the mean F1 over the classes that have images or were named."""
    return float(f1(confusion)[confusion.sum(axis=0) + confusion.sum(axis=1) > 0].mean())


def divide(numerators: npt.NDArray[np.generic], denominators: npt.NDArray[np.generic]) -> Shares:
    """Divide arrays of shapes that fit each other, with 0 where there is nothing to divide by."""
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)
