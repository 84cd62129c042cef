"""What two images are compared by: the bytes of their files, and what they look like from afar."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from stages.images.resize import Pixels, halve

FINGERPRINT = np.dtype(
    [
        ("sha256", "u1", (32,)),
        ("phash", "<u8"),
        ("flat", "?"),
        ("std", "<f4"),
        ("height_px", "<u4"),
        ("width_px", "<u4"),
    ]
)
"""53 bytes an image, so that a million of them take 53 MB.

sha256: of the file's bytes. Not of its pixels: those depend on the decoder's version and on dataset.color,
and the split, which is drawn by this hash, must not.
phash: which of the 64 lowest frequencies are above the median one; near duplicates differ in few bits.
flat: whether there is too little contrast for the hash to mean anything.
std: standard deviation at 32 x 32, in grey levels.
height_px, width_px: before it is resized.
"""

DETAILS = np.dtype([("shape", "i1", (64,)), ("sums", "<i8", (3,)), ("squares", "<i8", (3,))])
"""What is only asked for now and then, and therefore not held in memory.

shape: the frequencies of the perceptual hash without brightness and contrast, as a vector of length 127.
sums, squares: of the values of each channel and of their squares, after it is resized; integers, so that
statistics do not depend on any order.
"""

MEASURED = np.dtype([("fingerprint", FINGERPRINT), ("details", DETAILS)])
"""All that is known of an image."""

Measured = npt.NDArray[np.void]
"""Array (num_images,) of MEASURED."""

Fingerprints = npt.NDArray[np.void]
"""Array (num_images,) of FINGERPRINT."""

SIDE_PX = 32
_FLAT_STD = 2.0
"""Grey levels; below it the frequencies are those of noise."""

_ROW_BITS, _COLUMN_BITS = 12, 15
"""Of the cosines. Products of grey levels and whole numbers of these
lengths add up exactly, in 24 bits along the rows and in 53 down the columns, so that an image's fingerprint
is the same on every machine and beside whatever other images it is computed."""


def _cosines(num_bits: int) -> npt.NDArray[np.float64]:
    """Return the 8 lowest rows of the orthonormal cosine transform (8, 32), in whole parts of 2^num_bits."""
    row, column = np.arange(8)[:, None], np.arange(SIDE_PX)
    rows = np.cos((2 * column + 1) * row * np.pi / (2 * SIDE_PX)) * np.sqrt(2 / SIDE_PX)
    rows[0] /= np.sqrt(2)
    return np.asarray(np.rint(rows * 2**num_bits))


_ALONG_ROWS = _cosines(_ROW_BITS).T.astype(np.float32)
_DOWN_COLUMNS = _cosines(_COLUMN_BITS)


def shrink(pixels: Pixels) -> Pixels:
    """Return an image (height, width[, channels]), channels in RGB order, as one looks at it from afar.

    Its colours are dropped first: OpenCV halves one channel ten times as fast as three. It is halved as long
    as it stays large, which is many times as fast as averaging over areas of any size.

    Returns:
        uint8 array (32, 32), grey levels.
    """
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    while min(pixels.shape) >= 4 * SIDE_PX:
        pixels = halve(pixels)
    if pixels.shape == (SIDE_PX, SIDE_PX):
        return pixels
    return np.asarray(cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def measure_images(
    digests: Sequence[bytes], small: Pixels, sides_px: Sequence[tuple[int, int]], packed: Pixels
) -> Measured:
    """Return what is known of some images, of each the same whatever the others are.

    The perceptual hash is the usual one (Zauner 2010, "Implementation and Benchmarking of Perceptual Image
    Hash Functions"): the 8 x 8 lowest frequencies of the cosine transform of the image at 32 x 32, against
    their median. On CIFAR-10 it is far better than differences of neighbours: of pairs at most 4 bits apart,
    99 % are of one class against 84 %.

    Args:
        digests: SHA-256 of each file.
        small: What `shrink` makes of each, uint8 (N, 32, 32).
        sides_px: Height and width of each before it was resized.
        packed: What is stored of each, uint8 (N, height, width, channels).
    """
    num_images = len(digests)
    along_rows = small.astype(np.float32) @ _ALONG_ROWS
    frequencies = (_DOWN_COLUMNS @ along_rows).reshape(num_images, 64) * 2.0 ** -(_ROW_BITS + _COLUMN_BITS)
    frequencies[:, 0] = 0  # the mean brightness
    medians = np.partition(frequencies[:, 1:], 31, axis=1)[:, 31:32]
    lengths = np.sqrt((frequencies**2).sum(axis=1))
    measured = np.zeros(num_images, dtype=MEASURED)
    fingerprints, details = measured["fingerprint"], measured["details"]
    fingerprints["sha256"] = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(num_images, 32)
    fingerprints["phash"] = np.packbits(frequencies > medians, axis=1).view("<u8").ravel()
    details["shape"] = np.rint(frequencies * (127 / np.maximum(lengths, 1.0))[:, None])
    fingerprints["flat"] = lengths < _FLAT_STD * SIDE_PX
    fingerprints["std"] = _deviations(small.reshape(num_images, -1))
    fingerprints["height_px"], fingerprints["width_px"] = np.array(sides_px).T
    sums, squares = sum_channels(packed)
    details["sums"][:, : sums.shape[1]] = sums
    details["squares"][:, : sums.shape[1]] = squares
    return measured


def _deviations(rows: Pixels) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each row (N, 1024), from exact sums."""
    num_values = rows.shape[1]
    sums = rows.sum(axis=1, dtype=np.uint32).astype(np.float64)
    squares = np.multiply(rows, rows, dtype=np.uint16).sum(axis=1, dtype=np.uint32).astype(np.float64)
    return np.asarray(np.sqrt(num_values * squares - sums**2) / num_values)


def sum_channels(images: Pixels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return sum and sum of squares over each of some images (N, height, width, channels).

    OpenCV's mean and deviation are made of exact sums, and rounding makes those of them again, several times
    as fast as NumPy adds up: a sum below 2^49 is off by less than a half (an image of 4096 x 4096 has 2^40).

    Returns:
        Two int64 arrays (N, channels).
    """
    moments = np.array([cv2.meanStdDev(image) for image in images])[..., 0]
    means, stds = moments[:, 0], moments[:, 1]
    num_pixels = images.shape[1] * images.shape[2]
    sums = np.rint(means * num_pixels).astype(np.int64)
    squares = np.rint((stds**2 + means**2) * num_pixels).astype(np.int64)
    return sums, squares
