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

_WINDOW = np.ones((9, 9), dtype=np.uint8)
_MIN_RANGE = 24
"""Grey levels between the darkest and the brightest pixel of a window, for an edge to be in it."""

Histograms = npt.NDArray[np.float32]

_TAIL_FRACTION = 0.01
"""Of the pixels, at either end, that are left aside: single pixels say nothing of an image."""


class Appearance(NamedTuple):
    """What is measured of N images, each (N,); the names are columns of `stages.images.image_table`."""

    brightness: npt.NDArray[np.floating]
    dark_end: npt.NDArray[np.intp]
    bright_end: npt.NDArray[np.intp]
    entropy: npt.NDArray[np.floating]
    sharpness: npt.NDArray[np.floating]


def count_levels(pixels: Pixels) -> Histograms:
    """Return two histograms of an image (height, width[, channels]), uint8, channels in RGB order.

    One is of its grey levels, one of the steepness of its edges from 0 to 255, float32 (2, 256). This is all
    that is done image by image: at 32 px, taking the numbers from them too took twice as long as decoding.
    """
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    while min(pixels.shape) >= 2 * _SIDE_PX:
        pixels = halve(pixels)
    if min(pixels.shape) > _SIDE_PX:
        scale = _SIDE_PX / min(pixels.shape)
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        # By less than two: interpolation leaves no pixel out, in a tenth of the time of averaging.
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return np.concatenate([_count(pixels, None), _count(*_measure_edges(pixels))]).reshape(2, 256)


def measure_appearance(histograms: Histograms) -> Appearance:
    """Return what the histograms (N, 2, 256) of `count_levels` say of each image.

    Sharpness is how steep the steepest edges are: 1 for a step from one pixel to the next, 0.2 for an edge
    blurred by a Gaussian of 2 px, and 0 for an image without edges. It is a matter of an image's sharpest
    parts: a blurred background does not lower it.
    """
    counts, steepness = (np.ascontiguousarray(histograms[:, place]) for place in (0, 1))
    num_pixels = counts.sum(axis=1)
    dark_end, bright_end = _find_quantiles(counts, _TAIL_FRACTION, 1 - _TAIL_FRACTION)
    (steepest,) = _find_quantiles(steepness, 1 - _TAIL_FRACTION)
    shares = counts / num_pixels[:, None]
    return Appearance(
        brightness=counts @ np.arange(256, dtype=np.float32) / num_pixels,
        dark_end=dark_end,
        bright_end=bright_end,
        entropy=-np.einsum("ij,ij->i", shares, np.log2(np.where(counts > 0, shares, 1.0))) + 0.0,
        sharpness=steepest / 255,
    )


def _measure_edges(gray: Pixels) -> tuple[Pixels, Pixels]:
    """Return the part of an edge's height, of 255, between two pixels, and where there are edges."""
    ranges = cv2.subtract(cv2.dilate(gray, _WINDOW), cv2.erode(gray, _WINDOW))
    padded = cv2.copyMakeBorder(gray, 1, 0, 1, 0, cv2.BORDER_REPLICATE)
    steps = cv2.max(cv2.absdiff(gray, padded[1:, :-1]), cv2.absdiff(gray, padded[:-1, 1:]))
    _, has_edge = cv2.threshold(ranges, _MIN_RANGE - 1, 255, cv2.THRESH_BINARY)
    return np.asarray(cv2.divide(steps, ranges, scale=255), np.uint8), np.asarray(has_edge, np.uint8)


def _count(values: Pixels, mask: Pixels | None) -> Histograms:
    counted = cv2.calcHist([values], [0], mask, [256], [0, 256])
    return np.asarray(counted, dtype=np.float32).ravel()


def _find_quantiles(counts: Histograms, *fractions: float) -> list[npt.NDArray[np.intp]]:
    """Return for histograms (N, 256) the smallest values that these fractions of all do not exceed."""
    below = np.cumsum(counts, axis=1)
    return [(below < fraction * below[:, -1:]).sum(axis=1) for fraction in fractions]
