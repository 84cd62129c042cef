"""How an image looks: bright or dark, rich or poor in grey levels, sharp or blurred.

Measured of the grey levels at 128 px or less, the same for every form that images are brought to, and stored
for the audit and its page. What is unusual is for the audit to say: it compares an image with the rest.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.images.resize import Pixels, halve

_SIDE_PX = 128
"""The shorter side of a larger image is brought to this."""

_WINDOW_PX = 9
_MIN_RANGE = 24
"""Grey levels between the darkest and the brightest pixel of a window, for an edge to be in it."""

_TAIL_FRACTION = 0.01
"""Of the pixels, at either end, that are left aside: single pixels say nothing of an image."""


class Appearance(NamedTuple):
    """What is measured of one image; the names are columns of `stages.images.image_table`."""

    brightness: float
    dark_end: int
    bright_end: int
    entropy: float
    sharpness: float


def measure_appearance(pixels: Pixels) -> Appearance:
    """Measure an image (height, width[, channels]), uint8, channels in RGB order."""
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    while min(pixels.shape) >= 2 * _SIDE_PX:
        pixels = halve(pixels)
    if min(pixels.shape) > _SIDE_PX:
        scale = _SIDE_PX / min(pixels.shape)
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        # By less than two: interpolation leaves no pixel out, in a tenth of the time of averaging.
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    counts = np.bincount(pixels.ravel(), minlength=256)
    shares = counts[counts > 0] / pixels.size
    return Appearance(
        brightness=float(counts @ np.arange(256)) / pixels.size,
        dark_end=_find_quantile(counts, _TAIL_FRACTION),
        bright_end=_find_quantile(counts, 1 - _TAIL_FRACTION),
        entropy=float(-(shares * np.log2(shares)).sum()) + 0.0,
        sharpness=_measure_sharpness(pixels),
    )


def _measure_sharpness(gray: Pixels) -> float:
    """Return how steep the steepest edges are: the part of an edge's height that lies between two pixels.

    It is 1 for a step from one pixel to the next, 0.2 for an edge blurred by a Gaussian of 2 px, and 0 for an
    image without edges. It is a matter of an image's sharpest parts: a blurred background does not lower it.
    """
    if min(gray.shape) < 2:
        return 0.0
    kernel = np.ones((_WINDOW_PX, _WINDOW_PX), dtype=np.uint8)
    ranges = cv2.subtract(cv2.dilate(gray, kernel), cv2.erode(gray, kernel))
    steps = np.zeros(gray.shape, dtype=np.uint8)
    steps[:, 1:] = cv2.absdiff(gray[:, 1:], gray[:, :-1])
    steps[1:] = np.maximum(steps[1:], cv2.absdiff(gray[1:], gray[:-1]))
    has_edge = ranges >= _MIN_RANGE
    parts = cv2.divide(steps, ranges, scale=255)[has_edge]  # rounded to 1 / 255
    if not len(parts):
        return 0.0
    return _find_quantile(np.bincount(parts, minlength=256), 1 - _TAIL_FRACTION) / 255


def _find_quantile(counts: npt.NDArray[np.int64], fraction: float) -> int:
    """Return the smallest value that at least this fraction of all values does not exceed."""
    return int(np.searchsorted(np.cumsum(counts), fraction * counts.sum()))
