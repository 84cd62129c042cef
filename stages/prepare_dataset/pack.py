"""Packed pixels: uint8 .npy shards of bounded size, written as images arrive."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm
from schemas.shared.manifest import FileRecord
from stages.shared.decode import Pixels
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
    flat = pixels.reshape(-1, pixels.shape[-1])
    wide = flat.astype(np.uint16)  # holds 255^2; the sum is 64 bits wide
    return flat.sum(axis=0, dtype=np.int64), (wide * wide).sum(axis=0, dtype=np.int64)
