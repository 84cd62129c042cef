"""Pictures inside a page, as data: URIs of bounded size: single images, or many small ones on a sheet."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_JPEG_SIDES_PX = (256, 192, 128, 96, 64, 32)
_SHEET_BYTES = 500_000
_SHEET_SIDES_PX = (64, 48, 32, 24, 16)
_WEBP_QUALITY = 75


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
        encoded = encode(pixels, ".png")
        if len(encoded) <= _SHEET_BYTES:
            return sheet(to_data_uri(encoded, "image/png"))
        encoded = encode(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY)
        if len(encoded) <= _SHEET_BYTES:
            break
    return sheet(to_data_uri(encoded, "image/webp"))


def embed_image(image: NDArray[np.uint8], *, max_bytes: int) -> str:
    """Return an image losslessly as PNG if that fits, otherwise as a JPEG, shrunk until it fits."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    png = encode(bgr, ".png")
    if len(png) <= max_bytes:
        return to_data_uri(png, "image/png")
    height, width = bgr.shape[:2]
    jpeg = b""
    for side in _JPEG_SIDES_PX:
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        jpeg = encode(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA).astype(np.uint8), ".jpg")
        if len(jpeg) <= max_bytes:
            break
    return to_data_uri(jpeg, "image/jpeg")


def encode(pixels: NDArray[np.uint8], extension: str, *options: int) -> bytes:
    """Return the bytes of an image file of uint8 pixels (height, width[, channels]), BGR or BGRA."""
    written, encoded = cv2.imencode(extension, pixels, options)
    assert written, f"OpenCV cannot write {extension} from {pixels.shape}"
    return encoded.tobytes()


def to_data_uri(encoded: bytes, media_type: str) -> str:
    """Return an address that holds these bytes itself."""
    return f"data:{media_type};base64,{base64.b64encode(encoded).decode('ascii')}"


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


def _to_percent(place: int, count: int) -> str:
    return f"{100 * place / max(1, count - 1):.6g}%"
