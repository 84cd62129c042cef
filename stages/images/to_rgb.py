"""Decoded pixels made what a viewer shows: 8 bits a channel, on white paper, RGB or gray, upright."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.images.resize import Pixels

_BAND_PIXELS = 2**16
"""Pixels converted at a time, so that memory stays small."""

_FLIPS = {2: 1, 4: 0, 7: -1}
_TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
"""How OpenCV turns images of EXIF's orientations upright; of 5 and 7 rows become columns first."""

WIDE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of 16 bits a pixel, gray."""

_PLAIN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
MODES = frozenset((*WIDE_MODES, *_PLAIN_MODES, *_ALPHA_MODES))
"""Of a Pillow image that can be rendered."""


def render_image(image: Image.Image, *, gray: bool, bits: int = 16) -> Pixels:
    """Decode a Pillow image.

    Args:
        image: Opened, in one of MODES; its pixels need not be loaded. It is closed.
        gray: Whether one channel is wanted, not three in RGB order.
        bits: Of the WIDE_MODES, how many bits are used; the upper 8 of them are kept.

    Returns:
        (height, width, 3) or, for gray, (height, width).

    Raises:
        Exception: Pillow cannot decode it; its decoders raise nearly anything on damaged files.
    """
    image.load()
    rows = max(1, _BAND_PIXELS // image.width)
    pixels = np.empty((image.height, image.width) if gray else (image.height, image.width, 3), dtype=np.uint8)
    with image:
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            band = image.crop((0, top, image.width, bottom)) if rows < image.height else image
            pixels[top:bottom] = render_array(_to_array(band, bits), gray=gray)
    return pixels


def _to_array(image: Image.Image, bits: int) -> npt.NDArray[Any]:
    """Return the pixels of a Pillow image as gray (height, width), RGB or RGBA."""
    if image.mode in WIDE_MODES:
        values = np.asarray(image)
        gray = (values >> (bits - 8)).astype(np.uint8)
        if "transparency" in image.info:  # a PNG's transparent gray
            gray[values == image.info["transparency"]] = 255
        return gray
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def render_array(pixels: npt.NDArray[Any], *, gray: bool) -> Pixels:
    """Return pixels as a viewer shows them.

    Args:
        pixels: uint8 or uint16, (height, width, 4) in RGBA order, (height, width, 3) in RGB order, or
            (height, width) gray.
        gray: Whether one channel is wanted, not three in RGB order.

    Returns:
        (height, width, 3) or, for gray, (height, width).
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _blend(pixels)
    if (pixels.ndim == 2) == gray:
        return pixels
    return np.asarray(
        cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if gray else cv2.COLOR_GRAY2RGB), dtype=np.uint8
    )


def _blend(pixels: Pixels) -> Pixels:
    """Return (height, width, 3) of (height, width, 4): laid on white, as most viewers do."""
    blended = np.empty((*pixels.shape[:2], 3), dtype=np.uint8)
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    for start in range(0, len(pixels), rows):
        band = pixels[start : start + rows].astype(np.uint16)
        color, alpha = band[..., :3], band[..., 3:]
        blended[start : start + rows] = (color * alpha + 127) // 255 + (255 - alpha)
    return blended


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return an image as EXIF's orientation (1 to 8) says it is to be shown."""
    if orientation in (5, 7):
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    if orientation in _FLIPS:
        pixels = np.asarray(cv2.flip(pixels, _FLIPS[orientation]), dtype=np.uint8)
    elif orientation in _TURNS:
        pixels = np.asarray(cv2.rotate(pixels, _TURNS[orientation]), dtype=np.uint8)
    return pixels
