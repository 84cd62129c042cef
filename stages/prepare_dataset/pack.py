"""Packed pixels: uint8 .npy shards of bounded size, written as images arrive."""

import errno
import io
import math
from collections.abc import Iterable, Sequence
from io import FileIO
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from schemas.shared.image import ImageForm
from schemas.shared.manifest import FileRecord
from stages.images.resize import Pixels
from stages.prepare_dataset.details import Details
from stages.shared.block_hash import BLOCK_BYTES, BlockHash, hash_again
from stages.shared.files import describe_file

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

    def __init__(self, path: Path, form: ImageForm, *, num_rows: int) -> None:
        """Begin the file.

        Args:
            path: Where it goes.
            form: Of the images.
            num_rows: How many there will be, as far as one knows.
        """
        self._path = path
        self._shape = shape_of(form)
        self._file = path.open("wb", buffering=0)
        self._hash = BlockHash()
        self._num_expected = num_rows
        self.num_rows = 0
        self._write(npy_header(num_rows, np.dtype(np.uint8), self._shape))

    def append(self, images: Pixels) -> None:
        """Add images (N, height, width, channels)."""
        self._write(np.ascontiguousarray(images).data)
        self.num_rows += len(images)

    def close(self) -> None:
        """Finish the file."""
        if self._file.closed:
            return
        if self.num_rows != self._num_expected:
            self._file.seek(0)
            # NumPy leaves room for any number.
            self._file.write(npy_header(self.num_rows, np.dtype(np.uint8), self._shape))
        self._file.close()

    def digests(self) -> bytes:
        """Return the SHA-256 of each block of the file, once it is finished."""
        digests = self._hash.digests()
        if self.num_rows == self._num_expected:
            return digests
        return hash_again(self._path, digests, [0])  # the number of rows stands there

    def _write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        _write_all(self._file, data)

    def __enter__(self) -> "RowsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RowsReader:
    """Reads rows of one .npy file of images. Not mapped: pages that stay mapped count as memory of ours."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._num_rows, self._row_bytes, self._start = _read_header(self._file)

    def read_into(self, images: Pixels, *, first: int) -> None:
        """Fill an array with as many rows (N, height, width, channels), from one on."""
        assert first + len(images) <= self._num_rows, "there are fewer rows"
        view = images.data.cast("B")
        self._file.seek(self._start + first * self._row_bytes)
        while len(view):  # the system may read less than all of it
            num_bytes = self._file.readinto(view)
            if not num_bytes:
                raise OSError(errno.EIO, "ends before its last row", self._file.name)
            view = view[num_bytes:]

    def __enter__(self) -> "RowsReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def overwrite_rows(path: Path, rows: npt.NDArray[np.int64], images: Iterable[Pixels]) -> Sequence[int]:
    """Write images over some rows of a file, in place, and return the blocks that hold them (see BlockHash).

    Args:
        path: The file. One that is stopped halfway is no longer what its name says.
        rows: Which.
        images: What goes there, some (N, height, width, channels) at a time.
    """
    with path.open("r+b", buffering=0) as file:
        _, row_bytes, start = _read_header(file)
        remaining = iter(rows.tolist())
        for some in images:
            for image in some:
                file.seek(start + next(remaining) * row_bytes)
                _write_all(file, np.ascontiguousarray(image).data)
    firsts = (start + rows * row_bytes) // BLOCK_BYTES
    lasts = (start + (rows + 1) * row_bytes - 1) // BLOCK_BYTES
    spans = (range(first, last + 1) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True))
    return sorted(set(chain.from_iterable(spans)))


def count_rows(path: Path) -> int:
    """Return how many images a file holds."""
    with path.open("rb", buffering=0) as file:
        return _read_header(file)[0]


def _read_header(file: FileIO) -> tuple[int, int, int]:
    """Return how many rows an .npy file has, how many bytes each, and where the first one begins."""
    npy.read_magic(file)
    shape, _, _ = npy.read_array_header_1_0(file)
    return shape[0], math.prod(shape[1:]), file.tell()


def _write_all(file: FileIO, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    while len(view):  # the system may write less than all of it
        view = view[file.write(view) :]


def npy_header(num_rows: int, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> bytes:
    """Return what stands in an .npy file before its rows, each of a shape."""
    file = io.BytesIO()
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (num_rows, *shape)}
    npy.write_array_header_1_0(file, header)
    return file.getvalue()


def write_array(path: Path, values: npt.NDArray[np.generic]) -> FileRecord:
    """Write one array as .npy and describe the file."""
    np.save(path, values)
    return describe_file(path)


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
