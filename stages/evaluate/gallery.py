"""A few test images for each field of the confusion matrix that the report shows, bounded in number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.answers import Answers
from stages.evaluate.confusion import choose_matrix_classes, rank_confused_pairs
from stages.vision.dataset import PreparedImages

_MAX_OF_FIELD = 12
_MAX_IMAGES = 900

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


def fill_gallery(images: PreparedImages, answers: Answers, *, paths: Sequence[str]) -> Gallery:
    """Choose the surest mistakes of each field off the diagonal, and the least certain right answers."""
    chosen = choose_examples(answers, fields=list_shown_fields(answers.confusion))
    return Gallery(
        {
            shown: [Example(images.pixels(at), paths[at], float(answers.probability[at])) for at in positions]
            for shown, positions in chosen.items()
        }
    )


def list_shown_fields(confusion: NDArray[np.int64]) -> list[Field]:
    """Return the fields with images that the report can be asked for: of the matrix and of the pairs."""
    shown = choose_matrix_classes(confusion)
    fields = {(row, column) for row in shown for column in shown if confusion[row, column]}
    return sorted(fields | {(pair.label, pair.predicted) for pair in rank_confused_pairs(confusion)})


def choose_examples(answers: Answers, *, fields: Sequence[Field]) -> dict[Field, list[int]]:
    """Return images of each field, as many of each as fit into the bound on all of them together."""
    # Within a field the surest mistake comes first, but the least sure of the right answers.
    rank = np.where(answers.is_right, answers.probability, -answers.probability)
    keys = answers.labels * answers.num_classes + answers.predicted
    wanted = [label * answers.num_classes + predicted for label, predicted in fields]
    positions = np.flatnonzero(np.isin(keys, wanted))
    positions = positions[np.lexsort((positions, rank[positions], keys[positions]))]
    starts = np.flatnonzero(np.diff(keys[positions], prepend=-1))
    chosen = {
        divmod(int(keys[some[0]]), answers.num_classes): some[:_MAX_OF_FIELD].tolist()
        for some in np.split(positions, starts[1:])
        if len(some)
    }
    limit = _find_limit([len(some) for some in chosen.values()])
    return {field: some[:limit] for field, some in chosen.items()}


def _find_limit(sizes: Sequence[int]) -> int:
    """Return how many of each field are shown, at least one."""
    fits = (
        limit
        for limit in range(_MAX_OF_FIELD, 1, -1)
        if sum(min(limit, size) for size in sizes) <= _MAX_IMAGES
    )
    return next(fits, 1)
