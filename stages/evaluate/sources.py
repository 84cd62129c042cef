"""Where the test images come from: what data/prepared/index.csv says of them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.shared.index import IndexRow
from stages.shared.errors import InputError
from stages.shared.paths import MAKE_PREPARED
from stages.shared.text import printable


def read_columns(path: Path, *, rows: NDArray[np.int64], names: Sequence[str]) -> dict[str, list[str]]:
    """Return columns of the index for some of the packed images, line by line, never the whole index.

    That the file is as prepare-dataset wrote it says its SHA-256 in the manifest.

    Args:
        path: index.csv.
        rows: Ascending packed rows (N,).
        names: The columns.

    Returns:
        A list of N texts for each name.

    Raises:
        InputError: The file is no such index.
    """
    columns: dict[str, list[str]] = {name: [] for name in names}
    is_wanted = np.zeros(int(rows[-1]) + 1 if len(rows) else 0, dtype=bool)
    is_wanted[rows] = True
    wanted = iter(is_wanted.tolist())
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            if header != list(IndexRow._fields):
                raise InputError(
                    f"{path}: has no header line of {', '.join(IndexRow._fields)}; "
                    f"re-create it with: {MAKE_PREPARED}"
                )
            at_status = header.index("status")
            places = [(columns[name], header.index(name)) for name in names]
            for line in lines:
                if line[at_status] == "used" and next(wanted, False):
                    for column, at in places:
                        column.append(line[at])
    except (OSError, UnicodeDecodeError, csv.Error, IndexError) as error:
        raise InputError(
            f"{path}: cannot be read: {printable(str(error))}; re-create it with: {MAKE_PREPARED}"
        ) from None
    if any(len(column) != len(rows) for column in columns.values()):
        raise InputError(f"{path}: holds too few images; re-create it with: {MAKE_PREPARED}")
    return columns


def number_units(groups: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 (N,), from 0: the same number for images of one group; an empty text is no group."""
    numbers: dict[str, int] = {}
    units = np.empty(len(groups), dtype=np.int64)
    num_units = 0
    for image, group in enumerate(groups):
        unit = numbers.setdefault(group, num_units) if group else num_units
        units[image] = unit
        num_units += unit == num_units
    return units
