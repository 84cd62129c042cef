"""data/prepared/index.csv: every file of the source and what became of it."""

import csv
from collections.abc import Iterable
from pathlib import Path

from schemas.shared.index import IndexRow
from schemas.shared.manifest import FileRecord
from stages.shared.files import describe_file


def write_index(path: Path, rows: Iterable[IndexRow]) -> FileRecord:
    """Write one line for every row, below a header of the names of its columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(IndexRow._fields)
        writer.writerows(rows)
    return describe_file(path)
