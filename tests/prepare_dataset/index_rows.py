"""index.csv read whole, line by line, which no stage needs to."""

import csv
from pathlib import Path

from pydantic import TypeAdapter

from schemas.shared.manifest import IndexRow

_ROW = TypeAdapter(IndexRow)


def read_used_rows(path: Path) -> list[IndexRow]:
    """Return the lines of the images that are used; line i speaks of packed row i."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [_ROW.validate_python(row) for row in csv.DictReader(file)]
    return [row for row in rows if row.status == "used"]
