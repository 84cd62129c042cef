"""What `--embeddings` writes: features as one .npy array, and beside it the path of the file in each row."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from stages.shared.errors import InputError, path_for_csv
from stages.shared.files import publish_file
from tools.predict.prediction_table import check_output

Append = Callable[[Sequence[str], NDArray[np.float32]], None]


def paths_file_of(path: Path) -> Path:
    """Return where the paths of the rows of a .npy file are: features.paths.csv for features.npy."""
    return path.with_suffix(".paths.csv")


@contextmanager
def open_embeddings(path: Path, *, table: Path | None) -> Iterator[Append]:
    """Yield what appends paths and their rows; both files appear when the block ends without an error.

    Rows go to the disk as they come, so memory does not grow with the number of files.

    Args:
        path: Of the .npy file.
        table: Where predictions go.

    Raises:
        InputError: The path, or that of the file beside it, is a folder or a device, or that of the table.
    """
    beside = paths_file_of(path)
    for each in (path, beside):
        check_output(each, place="--embeddings")
        if each == table:
            raise InputError(f"--embeddings: {each}: is where --output goes, too; choose another name")
    shape = (0, 0)
    with (
        publish_file(path) as partial,
        publish_file(beside) as partial_paths,
        partial.open("wb") as file,
        partial_paths.open("w", encoding="utf-8", newline="") as paths_file,
    ):
        header_bytes = _write_header(file, shape)
        lines = csv.writer(paths_file, lineterminator="\n")
        lines.writerow(["path"])

        def append(paths: Sequence[str], rows: NDArray[np.float32]) -> None:
            nonlocal shape
            assert len(paths) == len(rows)
            assert rows.dtype == np.float32
            shape = (shape[0] + len(rows), rows.shape[1])
            file.write(np.ascontiguousarray(rows).data)
            lines.writerows([path_for_csv(each)] for each in paths)

        yield append
        file.seek(0)
        assert _write_header(file, shape) == header_bytes


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> int:
    """Write a .npy header and return its length, which NumPy keeps the same for up to 10^20 rows."""
    write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.tell()
