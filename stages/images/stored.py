"""Images that OpenCV returns as they are stored, made what is seen: on white paper, of 8 bits, upright."""

import cv2
import numpy as np
import numpy.typing as npt

from stages.images.formats.header import Header
from stages.images.resize import Pixels

_BAND_ROWS = 64
"""Rows at a time, so that memory stays small."""


def render_stored(pixels: npt.NDArray[np.uint8 | np.uint16], header: Header, *, gray: bool) -> Pixels:
    """Return an upright image of 8 bits a channel, without transparency.

    Args:
        pixels: (height, width, 4) in BGRA order, (height, width, 3) in BGR order, or (height, width) gray.
        header: Of the image.
        gray: Whether one channel is wanted, not three in RGB order.
    """
    if header.white:
        levels = np.minimum(np.arange(np.iinfo(pixels.dtype).max + 1), header.white)
        pixels = np.rint(levels * (255 / header.white)).astype(np.uint8)[pixels]
    elif pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    flat = np.asarray(pixels, dtype=np.uint8)
    if flat.ndim == 3 and flat.shape[2] == 4:
        flat = _blend(flat, is_premultiplied=header.is_premultiplied)
    if flat.ndim == 2:
        flat = flat if gray else np.asarray(cv2.cvtColor(flat, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    else:
        conversion = cv2.COLOR_BGR2GRAY if gray else cv2.COLOR_BGR2RGB
        flat = np.asarray(cv2.cvtColor(flat, conversion), dtype=np.uint8)
    return turn_upright(flat, header.orientation)


def _blend(pixels: Pixels, *, is_premultiplied: bool) -> Pixels:
    """Return (height, width, 3) of (height, width, 4)."""
    blended = np.empty((*pixels.shape[:2], 3), dtype=np.uint8)
    for start in range(0, len(pixels), _BAND_ROWS):
        band = pixels[start : start + _BAND_ROWS].astype(np.uint16)
        color, alpha = band[..., :3], band[..., 3:]
        if not is_premultiplied:
            color = (color * alpha + 127) // 255
        blended[start : start + _BAND_ROWS] = np.minimum(color + (255 - alpha), 255)
    return blended


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return an image as EXIF's orientation (1 to 8) says it is to be shown."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
