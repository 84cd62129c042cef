"""The confusion matrix as the report shows it: cells with a strength of colour, and confused pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evaluate import wording
from stages.vision.scores import divide


@dataclass(frozen=True)
class Cell:
    """One field of the confusion matrix."""

    css_class: str
    strength: str
    """How much colour, from 0 to 1."""

    count: str
    share: str
    """Of the images of the true class."""


@dataclass(frozen=True)
class Pair:
    """A class and another it was taken for."""

    label: str
    predicted: str
    count: int
    share: float
    """Of the images of the true class."""


def divide_rows(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each row by its sum; a class without images keeps a row of zeros."""
    return divide(confusion, confusion.sum(axis=1, keepdims=True))


def lay_out_cells(confusion: NDArray[np.int64]) -> list[list[Cell]]:
    """Return the cells of the matrix, row by row."""
    shares = divide_rows(confusion)
    return [
        [
            _cell(int(confusion[row, column]), float(shares[row, column]), is_hit=row == column)
            for column in range(len(confusion))
        ]
        for row in range(len(confusion))
    ]


def _cell(count: int, share: float, *, is_hit: bool) -> Cell:
    if count == 0:
        return Cell("none", "0.00", "0", wording.percent(0))
    # Mistakes are a few percent of a row: on the scale of the hits nobody would see them.
    strength = share if is_hit else 0.15 + 0.85 * math.sqrt(share)
    css_class = ("hit strong" if strength > 0.7 else "hit") if is_hit else "miss"
    return Cell(css_class, f"{strength:.2f}", wording.count(count), wording.percent(share))


def rank_confused_pairs(confusion: NDArray[np.int64], *, classes: Sequence[str]) -> list[Pair]:
    """Return every pair of true and predicted class with a mistake, the most frequent first."""
    shares = divide_rows(confusion)
    labels, predicted = np.nonzero(confusion * (1 - np.eye(len(confusion), dtype=np.int64)))
    counts, parts = confusion[labels, predicted], shares[labels, predicted]
    order = np.lexsort((predicted, labels, -parts, -counts))
    return [
        Pair(classes[labels[at]], classes[predicted[at]], int(counts[at]), float(parts[at])) for at in order
    ]
