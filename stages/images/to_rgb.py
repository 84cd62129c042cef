"""Decoded pixels made what a viewer shows: 8 bits a channel, on white paper, RGB or gray, upright."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.shared.manifest import Depth16
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


_TAIL_FRACTION = 0.005
"""Of an image's values that `percentile` leaves aside at either end: hot and dead pixels are fewer."""

_NUM_VALUES = 2**16
_HIGH_BYTES = (np.arange(_NUM_VALUES) >> 8).astype(np.uint8)


def render_image(image: Image.Image, *, gray: bool, bits: int = 16, depth16: Depth16 = "high_byte") -> Pixels:
    """Decode a Pillow image.

    Args:
        image: Opened, in one of MODES; its pixels need not be loaded. It is closed.
        gray: Whether one channel is wanted, not three in RGB order.
        bits: Of the WIDE_MODES, how many bits are used.
        depth16: What becomes of those.

    Returns:
        (height, width, 3) or, for gray, (height, width).

    Raises:
        Exception: Pillow cannot decode it; its decoders raise nearly anything on damaged files.
    """
    image.load()
    rows = max(1, _BAND_PIXELS // image.width)
    levels = None
    if image.mode in WIDE_MODES:
        key = image.info.get("transparency")  # a PNG's transparent gray
        levels = choose_levels(np.asarray(image), depth16, bits=bits, ignored=key)
        if key is not None:
            levels[key] = 255
    pixels = np.empty((image.height, image.width) if gray else (image.height, image.width, 3), dtype=np.uint8)
    with image:
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            band = image.crop((0, top, image.width, bottom)) if rows < image.height else image
            pixels[top:bottom] = render_array(_to_array(band, levels), gray=gray)
    return pixels


def choose_levels(
    values: npt.NDArray[Any], depth16: Depth16, *, bits: int = 16, ignored: int | None = None
) -> Pixels:
    """Return which gray level from 0 to 255 each of the values from 0 to 65,535 becomes, (65536,).

    Args:
        values: Of an image (height, width[, channels]), integers of at most 16 bits; all its channels count.
        depth16: `dataset.depth16`, which schemas/ingest/dataset.py explains.
        bits: How many bits the values use.
        ignored: A value that does not count.
    """
    levels = np.arange(_NUM_VALUES)
    if depth16 == "high_byte":
        return np.asarray(np.minimum(levels >> (bits - 8), 255), dtype=np.uint8)
    counts = np.zeros(_NUM_VALUES)
    rows = max(1, _BAND_PIXELS // values[0].size)
    for top in range(0, len(values), rows):  # bincount takes 8 bytes a value
        counts += np.bincount(values[top : top + rows].ravel(), minlength=_NUM_VALUES)
    if ignored is not None:
        counts[ignored] = 0
    below = np.cumsum(counts)
    tail = below[-1] * (_TAIL_FRACTION if depth16 == "percentile" else 0)
    low = np.searchsorted(below, tail, side="right")
    high = np.searchsorted(below, below[-1] - tail, side="left")
    # A range of less than 255 is not spread: a blank picture's noise would fill the whole range.
    spread = np.rint((levels - low) * (255 / max(high - low, 255)))
    return np.asarray(np.clip(spread, 0, 255), dtype=np.uint8)


def _to_array(image: Image.Image, levels: Pixels | None) -> npt.NDArray[Any]:
    """Return the pixels of a Pillow image as gray (height, width), RGB or RGBA.

    Args:
        image: In one of MODES.
        levels: Of the WIDE_MODES, what `choose_levels` returned for the whole image.
    """
    if levels is not None:
        return np.asarray(levels[np.asarray(image)])
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def render_array(pixels: npt.NDArray[Any], *, gray: bool, depth16: Depth16 = "high_byte") -> Pixels:
    """Return pixels as a viewer shows them.

    Args:
        pixels: uint8 or uint16, (height, width, 4) in RGBA order, (height, width, 3) in RGB order, or
            (height, width) gray.
        gray: Whether one channel is wanted, not three in RGB order.
        depth16: What becomes of uint16. Of transparency the upper 8 bits are kept in any case.

    Returns:
        (height, width, 3) or, for gray, (height, width).
    """
    if pixels.dtype == np.uint16:
        pixels = _narrow(pixels, depth16)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _blend(pixels)
    if (pixels.ndim == 2) == gray:
        return pixels
    return np.asarray(
        cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if gray else cv2.COLOR_GRAY2RGB), dtype=np.uint8
    )


def _narrow(values: npt.NDArray[np.uint16], depth16: Depth16) -> Pixels:
    """Return uint8 of the same shape; a fourth channel is transparency."""
    if depth16 == "high_byte":
        return np.asarray(cv2.LUT(values, _HIGH_BYTES), dtype=np.uint8)
    levels = choose_levels(values[..., :3] if values.ndim == 3 else values, depth16)
    narrowed = np.asarray(cv2.LUT(values, levels), dtype=np.uint8)
    if values.ndim == 3 and values.shape[2] == 4:
        narrowed[..., 3] = values[..., 3] >> 8
    return narrowed


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
