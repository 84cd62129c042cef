"""Packed pixels: uint8 .npy shards of bounded size, written as images arrive."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm
from schemas.shared.manifest import FileRecord
from stages.images.resize import Pixels
from stages.shared.files import record_of

SHARD_BYTES = 64 * 2**20
"""Large enough for few files, small enough that DVC hashes them side by side and memory stays bounded."""


class ShardWriter:
    """Writes images to `images-00000.npy`, `images-00001.npy`, ... in the order they are appended."""

    def __init__(self, folder: Path, form: ImageForm, *, shard_bytes: int = SHARD_BYTES) -> None:
        shape = (form.height_px, form.width_px, form.num_channels)
        self._folder = folder
        self._buffer = np.empty((max(1, shard_bytes // int(np.prod(shape))), *shape), dtype=np.uint8)
        self._num_rows = 0
        self._records: list[FileRecord] = []

    def append(self, pixels: Pixels) -> None:
        """Add one image (height, width, channels)."""
        self._buffer[self._num_rows] = pixels
        self._num_rows += 1
        if self._num_rows == len(self._buffer):
            self._flush()

    def close(self) -> tuple[FileRecord, ...]:
        """Write what is left and return what was written."""
        if self._num_rows:
            self._flush()
        return tuple(self._records)

    def _flush(self) -> None:
        path = self._folder / f"images-{len(self._records):05}.npy"
        np.save(path, self._buffer[: self._num_rows])
        self._records.append(record_of(path))
        self._num_rows = 0


def keep_rows(
    folder: Path, shards: Sequence[FileRecord], keep: npt.NDArray[np.bool_], form: ImageForm
) -> tuple[FileRecord, ...]:
    """Write shards anew with some of their rows, and describe them.

    Args:
        folder: Where the shards are.
        shards: What a ShardWriter returned.
        keep: bool array (rows,); which of all rows stay.
        form: The form of the images.
    """
    if keep.all():
        return tuple(shards)
    whole = folder / "whole"
    whole.mkdir()
    writer = ShardWriter(folder, form)
    start = 0
    for shard in shards:
        (folder / shard.name).rename(whole / shard.name)
    for shard in shards:
        rows = np.load(whole / shard.name, mmap_mode="r")
        for i in np.flatnonzero(keep[start : start + len(rows)]):
            writer.append(rows[i])
        start += len(rows)
    shutil.rmtree(whole)
    return writer.close()


def write_array(path: Path, values: npt.NDArray[np.generic]) -> FileRecord:
    """Write one array as .npy and describe the file."""
    np.save(path, values)
    return record_of(path)


@dataclass(frozen=True)
class ChannelSums:
    """Sums over the pixels of each image, in integers, so that statistics do not depend on any order.

    Both arrays are int64 (num_images, channels).
    """

    values: npt.NDArray[np.int64]
    squares: npt.NDArray[np.int64]

    def mean_and_std(self, *, num_pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel over all images, pixels scaled to [0, 1].

        Args:
            num_pixels: Pixels in one image.
        """
        count = len(self.values) * num_pixels
        means, stds = [], []
        for channel in range(self.values.shape[1]):
            total = int(self.values[:, channel].sum())
            total_of_squares = int(self.squares[:, channel].sum())
            scaled_variance = count * total_of_squares - total**2  # (255 * count)^2 times the variance, exact
            means.append(total / (255 * count))
            stds.append(scaled_variance**0.5 / (255 * count))
        return tuple(means), tuple(stds)

    def of(self, rows: npt.NDArray[np.bool_]) -> "ChannelSums":
        """Return the sums of the chosen images."""
        return ChannelSums(self.values[rows], self.squares[rows])


def sum_channels(pixels: Pixels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return sum and sum of squares over one image (height, width, channels), each int64 (channels,)."""
    # OpenCV's sums are exact, and six times as fast as NumPy's over the same few bytes.
    num_channels = pixels.shape[-1]
    squares = cv2.multiply(pixels, pixels, dtype=cv2.CV_16U)  # holds 255^2
    values, of_squares = cv2.sumElems(pixels)[:num_channels], cv2.sumElems(squares)[:num_channels]
    return np.array(values, dtype=np.int64), np.array(of_squares, dtype=np.int64)
