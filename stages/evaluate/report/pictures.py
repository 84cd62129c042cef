"""The pictures of the report as data: URIs, each sort of them bounded in size.

Examples with the outlines of their heatmaps, a sprite sheet with the images of all cells of the confusion
matrix, and the matrix itself if there are many classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.evaluate.examples import Cell, CellExample, Example, Examples
from stages.pages.embedding import Sheet, build_sheet, embed_image, encode, to_data_uri

_EXAMPLES_BYTES = 1_000_000
_MAX_PIXELATED_SIDE_PX = 128

OUTLINE_SIDE = 100
"""The outlines' own unit: the picture is that many wide and high, whatever its shape."""

_OUTLINED_HEAT = 0.5
_MAX_HEATMAP_SIDE = 16

_MAX_MATRIX_SIDE_PX = 500
_CORRECT_RGB = (43, 111, 158)
_MISTAKE_RGB = (217, 119, 43)


@dataclass(frozen=True)
class ProbabilityBar:
    """A class and its probability, below the picture."""

    label: str
    probability: float
    role: str
    """`predicted`, `label`, both or neither."""


@dataclass(frozen=True)
class ExamplePicture:
    """An example with its pictures as data: URIs."""

    example: Example
    address: str
    outline: str
    """SVG path around where the heatmap reaches half of its maximum; empty without a heatmap."""

    bars: Sequence[ProbabilityBar]

    @property
    def width_px(self) -> int:
        """Return the image's width."""
        return int(self.example.image.shape[1])

    @property
    def height_px(self) -> int:
        """Return the image's height."""
        return int(self.example.image.shape[0])

    @property
    def has_empty_heatmap(self) -> bool:
        """Return whether there is a heatmap in which nothing is hot."""
        return self.example.heatmap is not None and not self.example.heatmap.any()

    @property
    def is_pixelated(self) -> bool:
        """Return whether the image is so small that single pixels should be seen."""
        return max(self.width_px, self.height_px) <= _MAX_PIXELATED_SIDE_PX


@dataclass(frozen=True)
class ExamplePictures:
    """The pictures of each sort of example."""

    worst: Sequence[ExamplePicture]
    suspected: Sequence[ExamplePicture]
    uncertain: Sequence[ExamplePicture]
    sample: Sequence[ExamplePicture]


@dataclass(frozen=True)
class Tile:
    """One image of a cell, and where it is on the sheet."""

    example: CellExample
    left: str
    top: str


@dataclass(frozen=True)
class CellTiles:
    """The tiles of one cell of the confusion matrix."""

    label: int
    predicted: int
    tiles: Sequence[Tile]


def draw_examples(examples: Examples) -> ExamplePictures:
    """Embed the pictures of all examples; all together stay within 1 MB."""
    sorts = (examples.worst, examples.suspected, examples.uncertain, examples.sample)
    num_examples = sum(len(some) for some in sorts)

    def draw(example: Example) -> ExamplePicture:
        outline = "" if example.heatmap is None else outline_heatmap(example.heatmap)
        address = embed_image(example.image, max_bytes=_EXAMPLES_BYTES // num_examples)
        return ExamplePicture(example, address, outline, _list_bars(example))

    return ExamplePictures(*([draw(example) for example in some] for some in sorts))


def outline_heatmap(heatmap: NDArray[np.float32]) -> str:
    """Return a path around the regions of a heatmap (h, w) that reach half of its maximum, 1.

    A line leaves the colors of the picture as they are. Between its positions the heatmap is interpolated.
    Empty for one in which nothing is hot.
    """
    scale = min(1.0, _MAX_HEATMAP_SIDE / max(heatmap.shape))
    height, width = (max(1, round(side * scale)) for side in heatmap.shape)
    small = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (OUTLINE_SIDE, OUTLINE_SIDE), interpolation=cv2.INTER_LINEAR)
    contours, _ = cv2.findContours(
        (large >= _OUTLINED_HEAT).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    lines = (cv2.approxPolyDP(each, 0.8, closed=True).reshape(-1, 2) for each in contours)
    # The steps from point to point are shorter to write than the points.
    steps = (np.diff(line, axis=0, prepend=0).tolist() for line in lines if len(line) > 2)
    return "".join("M{} {}l{}z".format(*line[0], " ".join(f"{x} {y}" for x, y in line[1:])) for line in steps)


def lay_out_cells(cells: Mapping[Cell, Sequence[CellExample]]) -> tuple[Sheet | None, list[CellTiles]]:
    """Return the sheet of all images of the cells, None if there are none, and the tiles of each cell."""
    sheet = build_sheet([example.image for some in cells.values() for example in some])
    laid_out: list[CellTiles] = []
    number = 0
    for (label, predicted), some in cells.items():
        tiles = []
        for example in some:
            assert sheet is not None, "there is an image"
            tiles.append(Tile(example, *sheet.locate(number)))
            number += 1
        laid_out.append(CellTiles(label, predicted, tiles))
    return sheet, laid_out


def draw_confusion(fractions: NDArray[np.float64]) -> str:
    """Return the confusion matrix as a small transparent picture, one pixel per cell.

    Args:
        fractions: (num_classes, num_classes), each row divided by its sum. Beyond 500 classes several cells
            share a pixel, which shows the largest of them.
    """
    num_classes = len(fractions)
    on_diagonal = np.eye(num_classes, dtype=bool)
    correct = _pool(np.where(on_diagonal, fractions, 0.0))
    mistakes = _pool(np.where(on_diagonal, 0.0, fractions))
    rgba = np.zeros((*correct.shape, 4), dtype=np.uint8)
    for layer, color in ((mistakes, _MISTAKE_RGB), (correct, _CORRECT_RGB)):
        drawn = layer > 0
        rgba[drawn, :3] = color[::-1]  # OpenCV writes BGR
        # One mistake is one pixel among tens of thousands: nothing above zero is fainter than half.
        rgba[drawn, 3] = np.rint(255 * (0.5 + 0.5 * np.sqrt(layer[drawn])))
    return to_data_uri(encode(rgba, ".png"), "image/png")


def _list_bars(example: Example) -> list[ProbabilityBar]:
    """Return the most probable classes, and the label after them if it is not among them."""
    bars = []
    for place, (name, probability) in enumerate(example.top_classes):
        roles = ["predicted"] * (place == 0) + ["label"] * (name == example.label)
        bars.append(ProbabilityBar(name, probability, ", ".join(roles)))
    if all(name != example.label for name, _ in example.top_classes):
        bars.append(ProbabilityBar(example.label, example.label_probability, "label"))
    return bars


def _pool(fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the maximum over square blocks, so that the picture stays small."""
    block = -(-len(fractions) // _MAX_MATRIX_SIDE_PX)
    side = -(-len(fractions) // block)
    padded = np.zeros((side * block, side * block))
    padded[: len(fractions), : len(fractions)] = fractions
    pooled: NDArray[np.float64] = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return pooled
