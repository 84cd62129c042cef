"""Pictures in rows, each before and after its transforms, with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_MARGIN_PX = 12
_GAP_PX = 4
_TEXT_PX = 16
_MIN_SIDE_PX = 96
_BACKGROUND = 255
_INK = (40, 40, 40)


@dataclass(frozen=True)
class Cell:
    """One image of the grid; both pictures are uint8 (height, width, channels), RGB or grayscale."""

    label: str
    before: Pixels
    after: Pixels


def draw_grid(cells: Sequence[Cell], *, num_columns: int) -> Pixels:
    """Return all cells in one picture, uint8 (height, width, 3) in OpenCV's BGR order.

    A cell is two pictures side by side, before and after, below its label. Small pictures are enlarged by a
    whole factor, pixel by pixel, so that one sees what is there.
    """
    drawn = [_draw_cell(cell) for cell in cells]
    height, width = drawn[0].shape[:2]
    num_rows = -(-len(drawn) // num_columns)
    num_columns = min(num_columns, len(drawn))
    grid = np.full(
        (num_rows * (height + _MARGIN_PX) + _MARGIN_PX, num_columns * (width + _MARGIN_PX) + _MARGIN_PX, 3),
        _BACKGROUND,
        dtype=np.uint8,
    )
    for place, picture in enumerate(drawn):
        row, column = divmod(place, num_columns)
        top, left = _MARGIN_PX + row * (height + _MARGIN_PX), _MARGIN_PX + column * (width + _MARGIN_PX)
        grid[top : top + height, left : left + width] = picture
    return grid


def _draw_cell(cell: Cell) -> Pixels:
    # One factor for both, so that one sees it when the transforms made the picture larger or smaller.
    factor = max(1, -(-_MIN_SIDE_PX // min(cell.before.shape[:2])))
    before, after = _enlarge(cell.before, factor=factor), _enlarge(cell.after, factor=factor)
    height, width = max(before.shape[0], after.shape[0]), before.shape[1] + _GAP_PX + after.shape[1]
    header = 2 * _TEXT_PX
    picture = np.full((header + height, width, 3), _BACKGROUND, dtype=np.uint8)
    picture[header : header + before.shape[0], : before.shape[1]] = before
    picture[header : header + after.shape[0], before.shape[1] + _GAP_PX :] = after
    font = cv2.FontFace("sans")
    # Drawn on a strip of its own: a long label is cut off at the cell's edge instead of wrapping into it.
    strip = picture[:header].copy()
    cv2.putText(strip, cell.label, (0, _TEXT_PX + 4), _INK, font, _TEXT_PX)
    picture[:header] = strip
    return picture


def _enlarge(pixels: Pixels, *, factor: int) -> Pixels:
    colored = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.shape[2] == 1 else cv2.COLOR_RGB2BGR)
    return np.asarray(colored, dtype=np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
