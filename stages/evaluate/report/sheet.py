"""Many small images in one picture, of which the page shows one tile at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.evaluate.report.pictures import encode, to_data_uri

_BUDGET_BYTES = 500_000
_SIDES_PX = (64, 48, 32, 24, 16)
_WEBP_QUALITY = 75


@dataclass(frozen=True)
class Sheet:
    """Tiles of one size, row by row."""

    address: str
    """The picture, as a data: URI."""

    num_columns: int
    num_rows: int
    width_px: int
    """Of a tile, as its image was before it was shrunk."""

    height_px: int

    def place(self, tile: int) -> tuple[str, str]:
        """Return a tile's background-position, from left and from top, in percent."""
        row, column = divmod(tile, self.num_columns)
        return _percent(column, self.num_columns), _percent(row, self.num_rows)


def build_sheet(images: Sequence[NDArray[np.uint8]]) -> Sheet | None:
    """Put images of one shape, uint8 (height, width, 3) RGB or (height, width, 1), on one sheet.

    It stays within a fixed size: to the pixel as PNG if that fits, as WebP and shrunk if not.
    """
    if not images:
        return None
    height, width, _ = images[0].shape
    num_columns = math.ceil(math.sqrt(len(images)))
    num_rows = -(-len(images) // num_columns)

    def sheet(address: str) -> Sheet:
        return Sheet(address, num_columns, num_rows, width, height)

    encoded = b""
    for side in _SIDES_PX:
        pixels = _lay_out(images, max_side_px=side, num_columns=num_columns, num_rows=num_rows)
        encoded = encode(pixels, ".png")
        if len(encoded) <= _BUDGET_BYTES:
            return sheet(to_data_uri(encoded, "image/png"))
        encoded = encode(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY)
        if len(encoded) <= _BUDGET_BYTES:
            break
    return sheet(to_data_uri(encoded, "image/webp"))


def _lay_out(
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


def _percent(place: int, count: int) -> str:
    return f"{100 * place / max(1, count - 1):.6g}%"
