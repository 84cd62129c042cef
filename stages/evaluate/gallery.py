"""A few test images for each field of the confusion matrix that the report shows, bounded in number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.evaluate.confusion import choose_matrix_classes, rank_confused_pairs
from stages.vision import scores
from stages.vision.dataset import PreparedImages

_MAX_OF_FIELD = 12
_MAX_IMAGES = 900

Positions = NDArray[np.int64]
Field = tuple[int, int]
"""True class and answer, as positions in the classes."""


@dataclass(frozen=True)
class Example:
    """One image of a field."""

    image: NDArray[np.uint8]
    path: str
    probability: float
    """Of the answer."""


@dataclass(frozen=True)
class Gallery:
    """Examples of the fields; a field without any has no entry."""

    fields: Mapping[Field, Sequence[Example]]


def fill_gallery(
    images: PreparedImages, *, paths: Sequence[str], probabilities: Tensor, num_classes: int
) -> Gallery:
    """Choose the surest mistakes of each field off the diagonal, and the least certain right answers."""
    labels = images.labels.numpy()
    highest, predicted = (part.numpy() for part in probabilities.max(dim=1))
    confusion = scores.count_confusion(labels, predicted, num_classes=num_classes)
    wanted = list_shown_fields(confusion)
    chosen = choose_examples(labels, predicted, highest, fields=wanted)
    return Gallery(
        {
            shown: [Example(images.pixels(at), paths[at], float(highest[at])) for at in positions]
            for shown, positions in chosen.items()
        }
    )


def list_shown_fields(confusion: NDArray[np.int64]) -> list[Field]:
    """Return the fields with images that the report can be asked for: of the matrix and of the pairs."""
    shown = choose_matrix_classes(confusion)
    fields = {(row, column) for row in shown for column in shown if confusion[row, column]}
    return sorted(fields | {(pair.label, pair.predicted) for pair in rank_confused_pairs(confusion)})


def choose_examples(
    labels: Positions, predicted: Positions, highest: NDArray[np.floating], *, fields: Sequence[Field]
) -> dict[Field, list[int]]:
    """Return images of each field, as many of each as fit into the bound on all of them together.

    Args:
        labels: (N,).
        predicted: (N,).
        highest: (N,), the probability of each answer.
        fields: Those wanted.
    """
    of_field: dict[Field, list[int]] = {shown: [] for shown in fields}
    # Within a field the surest mistake comes first, but the least sure of the right answers.
    rank = np.where(labels == predicted, highest, -highest)
    num_classes = int(max(labels.max(), predicted.max())) + 1
    keys = labels * num_classes + predicted
    positions = np.flatnonzero(np.isin(keys, [row * num_classes + column for row, column in fields]))
    positions = positions[np.lexsort((positions, rank[positions], keys[positions]))]
    starts = np.flatnonzero(np.diff(keys[positions], prepend=-1))
    for some in np.split(positions, starts[1:]):
        if len(some):
            of_field[int(labels[some[0]]), int(predicted[some[0]])] = some[:_MAX_OF_FIELD].tolist()
    limit = _find_limit([len(some) for some in of_field.values()])
    return {shown: some[:limit] for shown, some in of_field.items() if some}


def _find_limit(sizes: Sequence[int]) -> int:
    """Return how many of each field are shown, at least one."""
    fits = (
        limit
        for limit in range(_MAX_OF_FIELD, 1, -1)
        if sum(min(limit, size) for size in sizes) <= _MAX_IMAGES
    )
    return next(fits, 1)
