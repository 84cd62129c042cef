"""The lines of a table of labels: a CSV of known columns."""

import csv
import io
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from stages.shared.errors import InputError
from stages.shared.text import printable

REQUIRED = ("path", "label")
COLUMNS = (*REQUIRED, "split", "group")


class Row(NamedTuple):
    """A line of the table, below its header."""

    line: int
    path: str
    label: str
    split: str | None
    group: str | None


def read_rows(data: bytes, *, place: str) -> Iterator[Row]:
    """Yield the lines below the header; empty ones are passed over.

    Raises:
        InputError: It is no UTF-8, no CSV, or has no header of the columns that are known.
    """
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    line = 1
    try:
        header = _read_header(next(reader, []), place=place)
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise InputError(
                    f"{place}:{line}: found {len(cells)} cells, where the header has {len(header)}; "
                    "give it as many, and put quotes around one that holds a comma"
                )
            if cells:
                named = dict(zip(header, cells, strict=True))
                yield Row(line, named["path"], named["label"], named.get("split"), named.get("group"))
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: is not UTF-8 (byte {error.object[error.start]:#04x}, somewhere from line {line} on); "
            "save it as CSV UTF-8"
        ) from None
    except csv.Error as error:
        raise InputError(f"{place}:{line}: is no CSV: {printable(str(error))}; save it anew") from None


def _read_header(cells: Sequence[str], *, place: str) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    shown = printable(",".join(cells))
    allowed = "allowed: path,label, and, if there are any, split and group, separated by commas"
    if not set(header) & set(COLUMNS):
        raise InputError(f"{place}:1: found {shown or 'nothing'}, which is no header; {allowed}")
    for column in header:
        if column not in COLUMNS:
            near = get_close_matches(column, COLUMNS, n=1)
            advice = f"did you mean {near[0]}?" if near else f"{allowed}; remove it"
            raise InputError(f"{place}:1: unknown column {printable(column) or '(empty)'}; {advice}")
        if header.count(column) > 1:
            raise InputError(f"{place}:1: found the column {column} twice; keep one of them")
    for column in REQUIRED:
        if column not in header:
            raise InputError(f"{place}:1: found {shown}, without the column {column}; {allowed}")
    return header
