"""The pictures of the report as data: URIs, each sort of them bounded in size.

Examples with their heatmaps, a sprite sheet with the images of all cells of the confusion matrix, and the
matrix itself if there are many classes.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.evaluate.examples import Cell, CellExample, Example, Examples

_EXAMPLES_BYTES = 1_200_000
_JPEG_SIDES_PX = (256, 192, 128, 96, 64, 32)
_MAX_PIXELATED_SIDE_PX = 128

_MAX_HEATMAP_SIDE_PX = 16
_HEAT_LEVELS = 16  # the browser interpolates between them
_HEAT_RGB = ((255, 70, 0), (255, 225, 60))  # low, high
_HEAT_ALPHA = 0.65

_SHEET_BYTES = 500_000
_SHEET_SIDES_PX = (64, 48, 32, 24, 16)
_WEBP_QUALITY = 75

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
    heatmap: str | None
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
    uncertain: Sequence[ExamplePicture]
    suspected: Sequence[ExamplePicture]


@dataclass(frozen=True)
class Sheet:
    """Many small images in one picture, tiles of one size, row by row."""

    address: str
    num_columns: int
    num_rows: int
    width_px: int
    """Of a tile, before it was shrunk."""

    height_px: int

    def locate(self, tile: int) -> tuple[str, str]:
        """Return a tile's CSS background-position, from left and from top."""
        row, column = divmod(tile, self.num_columns)
        return _to_percent(column, self.num_columns), _to_percent(row, self.num_rows)


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
    """Embed the pictures of all examples; all together stay within 1.2 MB."""
    sorts = (examples.worst, examples.uncertain, examples.suspected)
    num_examples = sum(len(some) for some in sorts)

    def draw(example: Example) -> ExamplePicture:
        heatmap = None
        if example.heatmap is not None and example.heatmap.any():
            heatmap = _draw_heatmap(example.heatmap)
        address = _embed_image(example.image, max_bytes=_EXAMPLES_BYTES // num_examples)
        return ExamplePicture(example, address, heatmap, _list_bars(example))

    return ExamplePictures(*([draw(example) for example in some] for some in sorts))


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


def build_sheet(images: Sequence[NDArray[np.uint8]]) -> Sheet | None:
    """Put images of one shape, uint8 (height, width, 3) RGB or (height, width, 1), on one sheet.

    It stays within 500 kB: lossless as PNG if that fits, otherwise shrunk, as WebP.
    """
    if not images:
        return None
    height, width, _ = images[0].shape
    num_columns = math.ceil(math.sqrt(len(images)))
    num_rows = -(-len(images) // num_columns)

    def sheet(address: str) -> Sheet:
        return Sheet(address, num_columns, num_rows, width, height)

    encoded = b""
    for side in _SHEET_SIDES_PX:
        pixels = _tile(images, max_side_px=side, num_columns=num_columns, num_rows=num_rows)
        encoded = _encode(pixels, ".png")
        if len(encoded) <= _SHEET_BYTES:
            return sheet(_to_data_uri(encoded, "image/png"))
        encoded = _encode(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY)
        if len(encoded) <= _SHEET_BYTES:
            break
    return sheet(_to_data_uri(encoded, "image/webp"))


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
    return _to_data_uri(_encode(rgba, ".png"), "image/png")


def _list_bars(example: Example) -> list[ProbabilityBar]:
    """Return the most probable classes, and the label after them if it is not among them."""
    bars = []
    for place, (name, probability) in enumerate(example.top_classes):
        roles = ["predicted"] * (place == 0) + ["label"] * (name == example.label)
        bars.append(ProbabilityBar(name, probability, ", ".join(roles)))
    if all(name != example.label for name, _ in example.top_classes):
        bars.append(ProbabilityBar(example.label, example.label_probability, "label"))
    return bars


def _draw_heatmap(heatmap: NDArray[np.float32]) -> str:
    """Return a heatmap (h, w) from 0 to 1 as a small overlay, more opaque where hotter."""
    scale = min(1.0, _MAX_HEATMAP_SIDE_PX / max(heatmap.shape))
    height, width = (max(1, round(side * scale)) for side in heatmap.shape)
    small = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_AREA)[:, :, None]
    small = np.rint(small * _HEAT_LEVELS) / _HEAT_LEVELS
    low, high = (np.array(color, dtype=np.float32) for color in _HEAT_RGB)
    rgba = np.concatenate([low + small * (high - low), 255 * _HEAT_ALPHA * small], axis=2)
    bgra = np.rint(rgba[:, :, [2, 1, 0, 3]]).astype(np.uint8)
    return _to_data_uri(_encode(bgra, ".png"), "image/png")


def _embed_image(image: NDArray[np.uint8], *, max_bytes: int) -> str:
    """Return an image losslessly as PNG if that fits, otherwise as a JPEG, shrunk until it fits."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    png = _encode(bgr, ".png")
    if len(png) <= max_bytes:
        return _to_data_uri(png, "image/png")
    height, width = bgr.shape[:2]
    jpeg = b""
    for side in _JPEG_SIDES_PX:
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        jpeg = _encode(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA).astype(np.uint8), ".jpg")
        if len(jpeg) <= max_bytes:
            break
    return _to_data_uri(jpeg, "image/jpeg")


def _tile(
    images: Sequence[NDArray[np.uint8]], *, max_side_px: int, num_columns: int, num_rows: int
) -> NDArray[np.uint8]:
    height, width, channels = images[0].shape
    scale = min(1.0, max_side_px / max(height, width))
    tile_height, tile_width = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = np.zeros((num_rows * tile_height, num_columns * tile_width, channels), dtype=np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, num_columns)
        tile = cv2.resize(image, (tile_width, tile_height), interpolation=cv2.INTER_AREA)
        bgr = tile.reshape(tile_height, tile_width, channels)[:, :, ::-1]
        top, left = row * tile_height, column * tile_width
        pixels[top : top + tile_height, left : left + tile_width] = bgr
    return pixels


def _pool(fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the maximum over square blocks, so that the picture stays small."""
    block = -(-len(fractions) // _MAX_MATRIX_SIDE_PX)
    side = -(-len(fractions) // block)
    padded = np.zeros((side * block, side * block))
    padded[: len(fractions), : len(fractions)] = fractions
    pooled: NDArray[np.float64] = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return pooled


def _encode(pixels: NDArray[np.uint8], extension: str, *options: int) -> bytes:
    """Return the bytes of an image file of pixels (height, width[, channels]), BGR or BGRA."""
    written, encoded = cv2.imencode(extension, pixels, options)
    assert written, f"OpenCV cannot write {extension} from {pixels.shape}"
    return encoded.tobytes()


def _to_data_uri(encoded: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(encoded).decode('ascii')}"


def _to_percent(place: int, count: int) -> str:
    return f"{100 * place / max(1, count - 1):.6g}%"
