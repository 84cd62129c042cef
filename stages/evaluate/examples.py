"""The test images that the report shows: worst mistakes, label errors, least confident, at random, cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stages.evaluate.gradcam import GradCamUnavailable, Heatmap, compute_heatmaps
from stages.evaluate.label_errors import LabelErrors, find_label_errors
from stages.evaluate.metrics import choose_matrix_classes, rank_confused_pairs
from stages.evaluate.predictions import Ints, Predictions
from stages.vision.dataset import PreparedImages

_NUM_CLASSES_SHOWN = 3
_SAMPLE_SEED = 0
_MAX_PER_CELL = 12
_MAX_IN_CELLS = 900

Cell = tuple[int, int]
"""True and predicted class, as positions in the classes."""


@dataclass(frozen=True)
class Example:
    """A test image and what the network predicted for it."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB or (height, width, 1): what the network sees of it, resized and cropped."""

    path: str
    label: str
    label_probability: float
    top_classes: Sequence[tuple[str, float]]
    """The most probable classes with their probabilities; the first is the predicted class."""

    heatmap: Heatmap | None = None
    """From 0 to 1, (h, w): contribution of each position to the predicted class; None if not computed."""

    suggestion: str = ""
    """The class that the image seems to belong to; empty unless its label is suspected."""

    @property
    def predicted(self) -> str:
        """Return the predicted class."""
        return self.top_classes[0][0]

    @property
    def is_correct(self) -> bool:
        """Return whether the predicted class is the label."""
        return self.predicted == self.label


@dataclass(frozen=True)
class CellExample:
    """One image of a cell of the confusion matrix."""

    image: NDArray[np.uint8]
    path: str
    confidence: float


@dataclass(frozen=True)
class Examples:
    """All images of the report; but for those of the cells, none is in it twice."""

    worst: Sequence[Example]
    """Mistakes, the least probable true class first."""

    suspected: Sequence[Example]
    """Images whose label is probably wrong, the most suspicious first, without those among the worst."""

    uncertain: Sequence[Example]
    """The least confident predictions first, correct or wrong, without those above."""

    sample: Sequence[Example]
    """Drawn at random from all images that are not above."""

    label_errors: LabelErrors
    """All of them, in the whole test split."""

    why_no_heatmaps: str
    """Why Grad-CAM does not apply; empty if it does."""

    cells: Mapping[Cell, Sequence[CellExample]]
    """A few images of each cell of the confusion matrix that is not empty."""


def collect_examples(
    images: PreparedImages,
    predictions: Predictions,
    *,
    shown: PreparedImages,
    paths: Sequence[str],
    classes: Sequence[str],
    num_each: int,
    network: nn.Module,
) -> Examples:
    """Choose the images, and compute a heatmap for each but those of the cells.

    Args:
        images: The test split, transformed as for testing.
        predictions: For its images (N).
        shown: The same as uint8, with the transforms of geometry alone, so that heatmaps fit over them.
        paths: Of its images, (N,).
        classes: Names, (C,).
        num_each: How many of each sort.
        network: The tested one; moved to the CPU.
    """
    label_errors = find_label_errors(predictions)
    suggestions = dict(zip(label_errors.images.tolist(), label_errors.suggestions.tolist(), strict=True))
    chosen = choose_examples(predictions, suspected=list(suggestions), num_each=num_each)
    positions = sorted(position for some in chosen.values() for position in some)
    heatmaps, why_none = _explain(network, images, predictions, positions)

    def example(position: int) -> Example:
        (row,) = predictions.probabilities(np.array([position]))
        top = row.argsort(descending=True, stable=True)[:_NUM_CLASSES_SHOWN].tolist()
        return Example(
            image=shown[position][0].permute(1, 2, 0).numpy(),
            path=paths[position],
            label=classes[predictions.labels[position]],
            label_probability=float(predictions.label_probability[position]),
            top_classes=[(classes[at], float(row[at])) for at in top],
            heatmap=heatmaps.get(position),
            suggestion=classes[suggestions[position]] if position in suggestions else "",
        )

    examples = {sort: [example(position) for position in some] for sort, some in chosen.items()}
    cells = choose_cell_images(predictions, cells=list_shown_cells(predictions.confusion))
    return Examples(
        worst=examples["worst"],
        suspected=examples["suspected"],
        uncertain=examples["uncertain"],
        sample=examples["sample"],
        label_errors=label_errors,
        why_no_heatmaps=why_none,
        cells={
            cell: [
                CellExample(images.pixels(at), paths[at], float(predictions.confidence[at])) for at in some
            ]
            for cell, some in cells.items()
        },
    )


def choose_examples(
    predictions: Predictions, *, suspected: Sequence[int], num_each: int
) -> dict[str, list[int]]:
    """Return images of each sort of example, at most `num_each`, none of them twice."""
    rng = np.random.default_rng(_SAMPLE_SEED)
    ranked: dict[str, Sequence[int]] = {
        "worst": rank_mistakes(predictions),
        "suspected": suspected,
        "uncertain": np.argsort(predictions.confidence, kind="stable").tolist(),
        "sample": rng.permutation(predictions.num_images).tolist(),
    }
    chosen: dict[str, list[int]] = {}
    taken: set[int] = set()
    for sort, images in ranked.items():
        chosen[sort] = list(islice((image for image in images if image not in taken), num_each))
        taken |= set(chosen[sort])
    return chosen


def rank_mistakes(predictions: Predictions) -> list[int]:
    """Return the wrongly predicted images, the one with the least probable true class first."""
    wrong = np.flatnonzero(~predictions.is_correct)
    order = np.argsort(predictions.label_probability[wrong], kind="stable")
    return [int(image) for image in wrong[order]]


def list_shown_cells(confusion: Ints) -> list[Cell]:
    """Return the cells with images that the report lets one open: those of the matrix and of the pairs."""
    shown = choose_matrix_classes(confusion)
    cells = {(row, column) for row in shown for column in shown if confusion[row, column]}
    return sorted(cells | {(pair.label, pair.predicted) for pair in rank_confused_pairs(confusion)})


def choose_cell_images(predictions: Predictions, *, cells: Sequence[Cell]) -> dict[Cell, list[int]]:
    """Return images of each cell, at most 12 and as many as fit into 900 for all cells together.

    The most confident mistakes come first, but the least confident of the correct predictions.
    """
    rank = np.where(predictions.is_correct, predictions.confidence, -predictions.confidence)
    keys = predictions.labels * predictions.num_classes + predictions.predicted
    wanted = [label * predictions.num_classes + predicted for label, predicted in cells]
    positions = np.flatnonzero(np.isin(keys, wanted))
    positions = positions[np.lexsort((positions, rank[positions], keys[positions]))]
    starts = np.flatnonzero(np.diff(keys[positions], prepend=-1))
    chosen = {
        divmod(int(keys[some[0]]), predictions.num_classes): some[:_MAX_PER_CELL].tolist()
        for some in np.split(positions, starts[1:])
        if len(some)
    }
    limit = _find_limit([len(some) for some in chosen.values()])
    return {cell: some[:limit] for cell, some in chosen.items()}


def _find_limit(sizes: Sequence[int]) -> int:
    """Return how many images of each cell are shown, at least one."""
    fits = (
        limit
        for limit in range(_MAX_PER_CELL, 1, -1)
        if sum(min(limit, size) for size in sizes) <= _MAX_IN_CELLS
    )
    return next(fits, 1)


def _explain(
    network: nn.Module, images: PreparedImages, predictions: Predictions, positions: Sequence[int]
) -> tuple[dict[int, Heatmap], str]:
    """Return the heatmap of each position, or why there are none."""
    if not positions:
        return {}, ""
    inputs, _ = images.gather(positions)
    try:
        heatmaps = compute_heatmaps(network, inputs, torch.from_numpy(predictions.predicted[list(positions)]))
    except GradCamUnavailable as reason:
        return {}, str(reason)
    return dict(zip(positions, heatmaps, strict=True)), ""
