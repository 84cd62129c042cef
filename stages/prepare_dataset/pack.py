"""Packed pixels: uint8 .npy shards of bounded size, written as images arrive."""

from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from schemas.shared.image import ImageForm
from schemas.shared.manifest import FileRecord
from stages.images.resize import Pixels
from stages.prepare_dataset.details import Details
from stages.shared.files import record_of

SHARD_BYTES = 64 * 2**20
"""Large enough for few files, small enough that DVC hashes them side by side."""


def shape_of(form: ImageForm) -> tuple[int, int, int]:
    """Return the shape of a packed image."""
    return form.height_px, form.width_px, form.num_channels


def rows_per_shard(form: ImageForm, *, shard_bytes: int) -> int:
    """Return how many images a shard holds, but for the last one."""
    return max(1, shard_bytes // int(np.prod(shape_of(form))))


class RowsWriter:
    """Writes one .npy file of images, block by block, as NumPy would write all at once."""

    def __init__(self, path: Path, form: ImageForm) -> None:
        self._path = path
        self._shape = shape_of(form)
        self._file = path.open("wb")
        self.num_rows = 0
        self._write_header()

    def append(self, images: Pixels) -> None:
        """Add images (N, height, width, channels)."""
        self._file.write(np.ascontiguousarray(images).data)
        self.num_rows += len(images)

    def close(self) -> None:
        """Finish the file."""
        self._file.seek(0)
        self._write_header()  # NumPy leaves room in it for any number of rows
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.num_rows, *self._shape)}
        npy.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "RowsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_array(path: Path, values: npt.NDArray[np.generic]) -> FileRecord:
    """Write one array as .npy and describe the file."""
    np.save(path, values)
    return record_of(path)


def mean_and_std(details: Details, form: ImageForm) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all images, pixels scaled to [0, 1].

    Args:
        details: Of the images.
        form: Of the images.
    """
    count = len(details) * form.height_px * form.width_px
    totals, totals_of_squares = [0, 0, 0], [0, 0, 0]
    for block in details.blocks():
        for channel in range(form.num_channels):
            totals[channel] += int(block["sums"][:, channel].sum())
            totals_of_squares[channel] += int(block["squares"][:, channel].sum())
    means, stds = [], []
    for total, total_of_squares in list(zip(totals, totals_of_squares, strict=True))[: form.num_channels]:
        scaled_variance = count * total_of_squares - total**2  # (255 * count)^2 times the variance, exact
        means.append(total / (255 * count))
        stds.append(scaled_variance**0.5 / (255 * count))
    return tuple(means), tuple(stds)
