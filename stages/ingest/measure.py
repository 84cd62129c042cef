"""What is measured of every image while it is decoded: how it looks from afar, and its channel sums.

Measured once and stored in the table of images, so that the audit, the search for near duplicates and the
statistics of any split need no pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from stages.images.resize import Pixels, halve
from stages.ingest.appearance import Histograms, measure_appearance

FEATURES = np.dtype(
    [
        ("phash", "<u8"),
        ("is_flat", "?"),
        ("std", "<f4"),
        ("brightness", "<f4"),
        ("dark_end", "<u1"),
        ("bright_end", "<u1"),
        ("entropy", "<f4"),
        ("sharpness", "<f4"),
        ("height_px", "<u4"),
        ("width_px", "<u4"),
        ("bits", "<u1"),
        ("frequencies", "<i1", (64,)),
        ("sums", "<i8", (3,)),
        ("squares", "<i8", (3,)),
    ]
)
"""The measured columns of `stages.images.image_table`, which explains each of them: 148 bytes an image."""

Features = npt.NDArray[np.void]
"""Array (num_images,) of FEATURES."""

SIDE_PX = 32
_FLAT_STD = 2.0
"""Grey levels; below it the frequencies are those of noise."""

_ROW_BITS, _COLUMN_BITS = 12, 15
"""Bits of the cosines, as integers. Products of grey levels and integers of this size add up exactly, in the
24 bits of float32 along the rows and the 53 of float64 down the columns: an image has the same hash on every
machine and in every batch."""


def _cosines(num_bits: int) -> npt.NDArray[np.float64]:
    """Return the 8 lowest rows of the orthonormal cosine transform (8, 32), times 2^num_bits and rounded."""
    row, column = np.arange(8)[:, None], np.arange(SIDE_PX)
    rows = np.cos((2 * column + 1) * row * np.pi / (2 * SIDE_PX)) * np.sqrt(2 / SIDE_PX)
    rows[0] /= np.sqrt(2)
    return np.asarray(np.rint(rows * 2**num_bits))


_ALONG_ROWS = _cosines(_ROW_BITS).T.astype(np.float32)
_DOWN_COLUMNS = _cosines(_COLUMN_BITS)


def shrink(pixels: Pixels) -> Pixels:
    """Return an image (height, width[, channels]), channels in RGB order, as 32 x 32 grey levels, uint8.

    Colour is dropped first, because OpenCV halves one channel ten times as fast as three. Halving while the
    image is large is many times faster than averaging over areas of arbitrary size.
    """
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    while min(pixels.shape) >= 4 * SIDE_PX:
        pixels = halve(pixels)
    if pixels.shape == (SIDE_PX, SIDE_PX):
        return pixels
    return np.asarray(cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def measure_images(
    small: Pixels, sides_px: Sequence[tuple[int, int]], packed: Pixels, histograms: Histograms
) -> Features:
    """Return the features of some images; those of one do not depend on the others.

    The perceptual hash is the usual one (Zauner 2010, "Implementation and Benchmarking of Perceptual Image
    Hash Functions"): the 8 x 8 lowest frequencies of the cosine transform of the image at 32 x 32, compared
    with their median. On CIFAR-10 it is far better than differences of neighbouring pixels: of the pairs at
    most 4 bits apart, 99 % are of one class, against 84 %.

    Args:
        small: What `shrink` returns for each image, uint8 (N, 32, 32).
        sides_px: Height and width of each image before resizing.
        packed: What is stored of each image, uint8 (N, height, width, channels).
        histograms: What `count_levels` returns for each image, float32 (N, 2, 256).
    """
    num_images = len(small)
    along_rows = small.astype(np.float32) @ _ALONG_ROWS
    frequencies = (_DOWN_COLUMNS @ along_rows).reshape(num_images, 64) * 2.0 ** -(_ROW_BITS + _COLUMN_BITS)
    frequencies[:, 0] = 0  # the mean brightness
    medians = np.partition(frequencies[:, 1:], 31, axis=1)[:, 31:32]
    lengths = np.sqrt((frequencies**2).sum(axis=1))
    features = np.zeros(num_images, dtype=FEATURES)
    features["phash"] = np.packbits(frequencies > medians, axis=1).view("<u8").ravel()
    features["frequencies"] = np.rint(frequencies * (127 / np.maximum(lengths, 1.0))[:, None])
    features["is_flat"] = lengths < _FLAT_STD * SIDE_PX
    features["std"] = _standard_deviations(small.reshape(num_images, -1))
    features["height_px"], features["width_px"] = np.array(sides_px).T
    for name, values in measure_appearance(histograms)._asdict().items():
        features[name] = values
    sums, squares = sum_channels(packed)
    features["sums"][:, : sums.shape[1]] = sums
    features["squares"][:, : sums.shape[1]] = squares
    return features


def _standard_deviations(rows: Pixels) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each row (N, 1024), from exact sums."""
    num_values = rows.shape[1]
    sums = rows.sum(axis=1, dtype=np.uint32).astype(np.float64)
    squares = np.multiply(rows, rows, dtype=np.uint16).sum(axis=1, dtype=np.uint32).astype(np.float64)
    return np.asarray(np.sqrt(num_values * squares - sums**2) / num_values)


def sum_channels(images: Pixels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return sum and sum of squares of each channel of some images (N, height, width, channels).

    OpenCV's mean and deviation come from exact sums, and rounding turns them back into those, several times
    faster than NumPy adds up: a sum below 2^49 is off by less than a half (an image of 4096 x 4096 has 2^40).

    Returns:
        Two int64 arrays (N, channels).
    """
    moments = np.array([cv2.meanStdDev(image) for image in images])[..., 0]
    means, stds = moments[:, 0], moments[:, 1]
    num_pixels = images.shape[1] * images.shape[2]
    sums = np.rint(means * num_pixels).astype(np.int64)
    squares = np.rint((stds**2 + means**2) * num_pixels).astype(np.int64)
    return sums, squares
