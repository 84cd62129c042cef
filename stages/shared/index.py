"""data/prepared/index.csv: every file of the source and what became of it."""

import csv
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

from pydantic import ValidationError

from schemas.shared.index import IndexRow
from schemas.shared.manifest import FileRecord
from stages.shared.errors import InputError
from stages.shared.files import first_problem, record_of
from stages.shared.paths import MAKE_PREPARED
from stages.shared.text import printable


def write_index(path: Path, rows: Iterable[IndexRow]) -> FileRecord:
    """Write one line for every row, below a header of the schema's field names."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(IndexRow.model_fields)
        writer.writerows(map(attrgetter(*IndexRow.model_fields), rows))
    return record_of(path)


def read_used_rows(path: Path) -> list[IndexRow]:
    """Return the lines of the images that are used; line i speaks of packed row i.

    Raises:
        InputError: The file is no such index.
    """
    advice = f"make it anew with: {MAKE_PREPARED}"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames
            rows = [IndexRow.model_validate(row) for row in reader]
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}; {advice}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {printable(str(error))}; {advice}") from None
    if header != list(IndexRow.model_fields):
        raise InputError(f"{path}: has no header line of {', '.join(IndexRow.model_fields)}; {advice}")
    return [row for row in rows if row.status == "used"]
