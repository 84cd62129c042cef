"""The confusion matrix as the report shows it: cells with a strength of colour, and confused pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.vision.scores import divide

_MAX_MATRIX_CLASSES = 30
_NUM_CHOSEN_CLASSES = 20
_MAX_PAIRS = 10
_MAX_PAIRS_OF_MANY = 30


@dataclass(frozen=True)
class Cell:
    """One field of the confusion matrix."""

    label: int
    """Position of the true class."""

    predicted: int
    css_class: str
    strength: str
    """How much colour, from 0 to 1."""

    count: int
    share: float
    """Of the images of the true class."""


@dataclass(frozen=True)
class Pair:
    """A class and another it was taken for, as positions in the classes."""

    label: int
    predicted: int
    count: int
    share: float
    """Of the images of the true class."""


def divide_rows(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each row by its sum; a class without images keeps a row of zeros."""
    return divide(confusion, confusion.sum(axis=1, keepdims=True))


def choose_matrix_classes(confusion: NDArray[np.int64]) -> list[int]:
    """Return the classes that the matrix has a row and a column for: of many, those most often confused."""
    if len(confusion) <= _MAX_MATRIX_CLASSES:
        return list(range(len(confusion)))
    chosen: set[int] = set()
    for pair in rank_confused_pairs(confusion):
        if len(chosen | {pair.label, pair.predicted}) <= _NUM_CHOSEN_CLASSES:
            chosen |= {pair.label, pair.predicted}
    return sorted(chosen)


def lay_out_cells(confusion: NDArray[np.int64], *, shown: Sequence[int]) -> list[list[Cell]]:
    """Return the cells of the matrix of the shown classes, row by row."""
    shares = divide_rows(confusion)
    return [
        [_cell(row, column, int(confusion[row, column]), float(shares[row, column])) for column in shown]
        for row in shown
    ]


def _cell(label: int, predicted: int, count: int, share: float) -> Cell:
    if count == 0:
        return Cell(label, predicted, "none", "0.00", 0, 0.0)
    # Mistakes are a few percent of a row: on the scale of the hits nobody would see them.
    is_hit = label == predicted
    strength = share if is_hit else 0.15 + 0.85 * math.sqrt(share)
    css_class = ("hit" if is_hit else "miss") + (" strong" if strength > 0.7 else "")
    return Cell(label, predicted, css_class, f"{strength:.2f}", count, share)


def count_confused_pairs(confusion: NDArray[np.int64]) -> int:
    """Return how many pairs of true and predicted class have a mistake."""
    return int(np.count_nonzero(confusion) - np.count_nonzero(np.diag(confusion)))


def rank_confused_pairs(confusion: NDArray[np.int64]) -> list[Pair]:
    """Return the pairs of true and predicted class with most mistakes: ten, of many classes thirty."""
    shares = divide_rows(confusion)
    labels, predicted = np.nonzero(confusion * (1 - np.eye(len(confusion), dtype=np.int64)))
    counts, parts = confusion[labels, predicted], shares[labels, predicted]
    num_pairs = _MAX_PAIRS if len(confusion) <= _MAX_MATRIX_CLASSES else _MAX_PAIRS_OF_MANY
    order = np.lexsort((predicted, labels, -parts, -counts))[:num_pairs]
    return [Pair(int(labels[at]), int(predicted[at]), int(counts[at]), float(parts[at])) for at in order]
