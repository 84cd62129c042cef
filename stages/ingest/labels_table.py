"""A table of labels: a CSV `path,label[,split][,group]` that stands in the source beside the images."""

import csv
import io
import posixpath
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import NamedTuple

import numpy as np

from schemas.shared.manifest import SPLIT_NAMES
from stages.images.image_names import find_clutter, has_image_suffix
from stages.images.image_table import STATUSES, make_table
from stages.ingest.listing import (
    SPLIT_FOLDERS,
    Listing,
    check_similar_classes,
    drop_clutter,
    explain,
    name_class,
    text_column,
)
from stages.shared.errors import InputError, printable

_REQUIRED = ("path", "label")
_COLUMNS = (*_REQUIRED, "split", "group")
_MAX_LINES = 10
"""Mistakes that are shown; the rest are counted."""


class _Problem(ValueError):
    """A line of the table is wrong; the message says how."""


class _Line(NamedTuple):
    """A line of the table, below its header."""

    number: int
    path: str
    label: str
    split: str | None
    group: str | None


class _Labels(NamedTuple):
    """What the table says of one file."""

    line: int
    label: str
    split: int
    """Position in SPLIT_NAMES, -1 for none."""

    group: str


def find_table(entries: Sequence[str], labels: str, *, name: str, is_in_archive: bool) -> str:
    """Return the path of the table in the source; an archive may hold everything below one more folder.

    Raises:
        InputError: It is not there.
    """
    if labels in entries:
        return labels
    below = [entry for entry in entries if entry.endswith(f"/{labels}") and not find_clutter(entry)]
    if is_in_archive and len(below) == 1:
        return below[0]
    raise InputError(
        f"dataset.labels: {name}/{labels}: there is no such file; put the table there, beside the images, or "
        "set dataset.labels: folders"
    )


def list_by_table(entries: Sequence[str], data: bytes, *, table: str, labels: str, name: str) -> Listing:
    """Read class, split and group of every image from a table.

    A file that the table names is taken, whatever its suffix; other files are left out.

    Args:
        entries: Paths of all files and folders of the source, sorted; folders end in a slash.
        data: The table's bytes.
        table: The table's path in the source.
        labels: That path as params.yaml has it: without the folder that an archive may hold all below.
        name: The source, for messages.

    Raises:
        InputError: Something in the table is wrong; one line for each of the first few mistakes.
    """
    place = f"dataset.labels: {name}/{printable(table)}"
    found = _read_labels(entries, data, folder=posixpath.dirname(table), place=place)
    classes = sorted({labelled.label for labelled in found.values()})
    splits = {labelled.split for labelled in found.values()} - {-1}
    _check_gaps(classes, splits, place=place)
    check_similar_classes(classes, place=place)
    unlabelled, num_clutter = drop_clutter(
        entry for entry in entries if entry not in found and entry != table and not entry.endswith("/")
    )
    statuses = {
        path: STATUSES.index("not_in_table" if has_image_suffix(path) else "not_an_image")
        for path in unlabelled
    }
    decoded = STATUSES.index("decoded")
    paths = sorted([*found, *unlabelled], key=printable)
    codes = {label: code for code, label in enumerate(classes)}
    nothing = _Labels(0, "", -1, "")
    rows = [found.get(path, nothing) for path in paths]
    status = np.fromiter((statuses.get(path, decoded) for path in paths), np.uint8, len(paths))
    listed = make_table(
        len(paths),
        path=text_column(paths),
        label=np.fromiter((codes.get(row.label, -1) for row in rows), np.int32, len(rows)),
        split=np.fromiter((row.split for row in rows), np.int8, len(rows)),
        group=text_column([row.group for row in rows]),
        status=status,
        reason=text_column([explain(path, STATUSES[code]) for path, code in zip(paths, status, strict=True)]),
    )
    given = tuple(SPLIT_NAMES[code] for code in sorted(splits))
    return Listing(listed, tuple(classes), given, table.removesuffix(labels), num_clutter)


def _read_labels(entries: Sequence[str], data: bytes, *, folder: str, place: str) -> dict[str, _Labels]:
    """Return what the table says of each file it names, by the file's path in the source.

    Raises:
        InputError: One line for each of the first few mistakes.
    """
    finder = _Finder(entries, folder=folder)
    found: dict[str, _Labels] = {}
    problems: list[str] = []
    num_problems = 0
    for line in _read_lines(data, place=place):
        try:
            _check_filled_in(line)
            path = finder.find(line.path)
            if path in found:
                first = found[path].line
                raise _Problem(f"{printable(line.path)} is in line {first} already; keep one of them")
            split = -1 if line.split is None else _read_split(line.split)
            found[path] = _Labels(line.number, name_class(line.label), split, line.group or "")
        except _Problem as problem:
            num_problems += 1
            if num_problems <= _MAX_LINES:
                problems.append(f"{place}:{line.number}: {problem}")
    if num_problems > _MAX_LINES:
        problems.append(f"{place}: {num_problems - _MAX_LINES:,} more lines are wrong")
    if problems:
        raise InputError("\n".join(problems))
    return found


def _read_lines(data: bytes, *, place: str) -> Iterator[_Line]:
    """Yield the lines below the header; empty ones are skipped.

    Raises:
        InputError: It is not UTF-8, not CSV, or has no header of known columns.
    """
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    number = 1
    try:
        header = _read_header(next(reader, []), place=place)
        number = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise InputError(
                    f"{place}:{number}: found {len(cells)} cells, where the header has {len(header)}; "
                    "give it as many, and put quotes around a cell that holds a comma"
                )
            if cells:
                named = dict(zip(header, cells, strict=True))
                yield _Line(number, named["path"], named["label"], named.get("split"), named.get("group"))
            number = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: is not UTF-8 (byte {error.object[error.start]:#04x}, somewhere from line {number} "
            "on); save it as CSV UTF-8"
        ) from None
    except csv.Error as error:
        raise InputError(f"{place}:{number}: is not CSV: {printable(str(error))}; save it again") from None


def _read_header(cells: Sequence[str], *, place: str) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    shown = printable(",".join(cells))
    allowed = "allowed: path,label, and, if there are any, split and group, separated by commas"
    if not set(header) & set(_COLUMNS):
        raise InputError(f"{place}:1: found {shown or 'nothing'}, which is no header; {allowed}")
    for column in header:
        if column not in _COLUMNS:
            near = get_close_matches(column, _COLUMNS, n=1)
            advice = f"did you mean {near[0]}?" if near else f"{allowed}; remove it"
            raise InputError(f"{place}:1: unknown column {printable(column) or '(empty)'}; {advice}")
        if header.count(column) > 1:
            raise InputError(f"{place}:1: found the column {column} twice; keep one of them")
    for column in _REQUIRED:
        if column not in header:
            raise InputError(f"{place}:1: found {shown}, without the column {column}; {allowed}")
    return header


def _check_filled_in(line: _Line) -> None:
    for column in ("path", "label", "split"):
        cell = getattr(line, column)
        if cell is not None and not cell.strip():
            advice = "or leave the column out" if column == "split" else "or remove the line"
            raise _Problem(f"{column} is empty; fill it in, {advice}")


def _read_split(text: str) -> int:
    split = SPLIT_FOLDERS.get(text.strip().lower())
    if split is None:
        raise _Problem(f"split: found {printable(text)}; allowed: {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES.index(split)


class _Finder:
    """Finds the files of a source that the table names."""

    def __init__(self, entries: Sequence[str], *, folder: str) -> None:
        self._entries = entries
        self._folder = folder

    def find(self, text: str) -> str:
        """Return the entry at a path relative to the table's folder.

        Raises:
            _Problem: There is no such file, or it is outside that folder.
        """
        path = posixpath.normpath(text)
        if "\\" in text and self._entry_at(path) is None:
            path = posixpath.normpath(text.replace("\\", "/"))  # a table made on Windows
        if path.startswith("/") or path.split("/")[0] == "..":
            raise _Problem(
                f"{printable(text)} is outside the table's folder; give paths relative to it, and put the "
                "images below it"
            )
        entry = self._entry_at(path)
        if entry is None:
            entry = self._composed.get(unicodedata.normalize("NFC", posixpath.join(self._folder, path)))
        if entry is None:
            where = f" in {printable(self._folder)}" if self._folder else ""
            is_folder = self._entry_at(f"{path}/") is not None
            found = "is a folder" if is_folder else f"is no file{where} of the source"
            raise _Problem(f"{printable(text)} {found}; correct the path, or remove the line")
        return entry

    def _entry_at(self, path: str) -> str | None:
        path = posixpath.join(self._folder, path)
        place = bisect_left(self._entries, path)
        return path if place < len(self._entries) and self._entries[place] == path else None

    @cached_property
    def _composed(self) -> dict[str, str]:
        """Return each file by its composed name: macOS writes accents decomposed."""
        return {
            unicodedata.normalize("NFC", entry): entry
            for entry in self._entries
            if not (entry.isascii() or entry.endswith("/"))
        }


def _check_gaps(classes: Sequence[str], splits: set[int], *, place: str) -> None:
    """Refuse a table without images, with one label, or without a split to train on."""
    if not classes:
        raise InputError(f"{place}: found no images; give it a line for each below the header")
    if len(classes) < 2:
        raise InputError(f"{place}: found one label, {classes[0]}; a classifier needs at least two")
    names = [SPLIT_NAMES[code] for code in sorted(splits)]
    if names and "train" not in names:
        raise InputError(
            f"{place}: split: found {', '.join(sorted(names))}, but no train; mark the images to train on"
        )
