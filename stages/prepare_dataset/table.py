"""A table of labels: a CSV `path,label[,split][,group]` that stands in the source beside the images."""

import posixpath
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property

from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_names import find_clutter, has_image_suffix
from stages.prepare_dataset.collect import (
    SPLIT_FOLDERS,
    Collection,
    name_class,
    refuse_similar_classes,
    take_out_clutter,
)
from stages.prepare_dataset.found_images import FoundImage, FoundImages
from stages.prepare_dataset.table_rows import Row, read_rows
from stages.prepare_dataset.unused_files import Unused, UnusedFiles
from stages.shared.errors import InputError
from stages.shared.text import printable

_SHOWN_PROBLEMS = 10
_NOT_IN_TABLE = -1


class _Problem(ValueError):
    """A line of the table is wrong; the message says how."""


def find_table(entries: Sequence[str], labels: str, *, name: str, is_archive: bool) -> str:
    """Return the path of the table in the source; an archive may hold everything below one more folder.

    Raises:
        InputError: It is not there.
    """
    if labels in entries:
        return labels
    below = [entry for entry in entries if entry.endswith(f"/{labels}") and not find_clutter(entry)]
    if is_archive and len(below) == 1:
        return below[0]
    raise InputError(
        f"dataset.labels: {name}/{labels}: there is no such file; put the table there, beside the images, or "
        "set dataset.labels: folders"
    )


def collect_from_table(
    entries: Sequence[str], data: bytes, *, table: str, labels: str, name: str
) -> Collection:
    """Read class, split and group of every image off a table.

    What the table names is taken, whatever it is called; other files are left out.

    Args:
        entries: Paths of all files and folders of the source, sorted; folders end in a slash.
        data: The table's bytes.
        table: The table's path in the source.
        labels: That path as params.yaml has it: without the folder that an archive may hold all below.
        name: The source, for messages.

    Raises:
        InputError: Something in the table is wrong; a line for each of the first few things.
    """
    place = f"dataset.labels: {name}/{printable(table)}"
    columns = _read_columns(entries, data, folder=posixpath.dirname(table), place=place)
    wrapper = table.removesuffix(labels)
    rows = [row for row in range(len(entries)) if columns.labels[row] != _NOT_IN_TABLE]
    rows.sort(key=lambda row: printable(entries[row]))

    def images() -> Iterator[FoundImage]:
        for row in rows:
            path, split, group = entries[row], columns.splits[row], columns.groups[row]
            yield FoundImage(
                path,
                path.removeprefix(wrapper),
                columns.label_names[columns.labels[row]],
                None if split < 0 else SPLIT_NAMES[split],
                None if group < 0 else columns.group_names[group],
            )

    classes = sorted(columns.label_names)
    _refuse_gaps(columns, place=place)
    refuse_similar_classes(classes, place=place)
    others = (
        entry for row, entry in enumerate(entries) if columns.labels[row] == _NOT_IN_TABLE and entry != table
    )
    visible, num_clutter = take_out_clutter(others)
    unused: Iterator[tuple[str, str, Unused]] = (
        (path, "", "not_in_table" if has_image_suffix(path) else "not_an_image")
        for path in visible
        if not path.endswith("/")
    )
    return Collection(
        tuple(classes),
        FoundImages.pack(images(), classes=classes, wrapper=wrapper),
        frozenset(SPLIT_NAMES[code] for code in set(columns.splits) if code >= 0),
        UnusedFiles(unused, classes=()),
        num_clutter,
    )


class _Columns:
    """What the table says of each entry of the source, as codes."""

    def __init__(self, num_entries: int) -> None:
        self.labels = array("i", [_NOT_IN_TABLE]) * num_entries
        self.splits = array("b", [-1]) * num_entries
        self.groups = array("i", [-1]) * num_entries
        self.lines = array("i", [0]) * num_entries
        self._label_codes: dict[str, int] = {}
        self._group_codes: dict[str, int] = {}

    def set(self, entry: int, row: Row) -> None:
        """Note what a line of the table says of an entry.

        Raises:
            _Problem: An earlier line speaks of it too; or the line lacks something.
        """
        if self.lines[entry]:
            raise _Problem(
                f"{printable(row.path)} stands in line {self.lines[entry]} already; keep one of them"
            )
        self.lines[entry] = row.line
        self.splits[entry] = -1 if row.split is None else SPLIT_NAMES.index(_read_split(row.split))
        self.labels[entry] = self._label_codes.setdefault(name_class(row.label), len(self._label_codes))
        if row.group:
            self.groups[entry] = self._group_codes.setdefault(row.group, len(self._group_codes))

    @cached_property
    def label_names(self) -> list[str]:
        """Return the label of each code."""
        return list(self._label_codes)

    @cached_property
    def group_names(self) -> list[str]:
        """Return the group of each code."""
        return list(self._group_codes)


def _read_columns(entries: Sequence[str], data: bytes, *, folder: str, place: str) -> _Columns:
    """Return what the table says of each entry.

    Raises:
        InputError: A line for each of the first few things that are wrong.
    """
    finder = _Finder(entries, folder=folder)
    columns = _Columns(len(entries))
    problems: list[str] = []
    num_problems = 0
    for row in read_rows(data, place=place):
        try:
            _refuse_empty(row)
            columns.set(finder.find(row.path), row)
        except _Problem as problem:
            num_problems += 1
            if num_problems <= _SHOWN_PROBLEMS:
                problems.append(f"{place}:{row.line}: {problem}")
    if num_problems > _SHOWN_PROBLEMS:
        problems.append(f"{place}: {num_problems - _SHOWN_PROBLEMS:,} more lines are wrong")
    if problems:
        raise InputError("\n".join(problems))
    return columns


def _refuse_empty(row: Row) -> None:
    for column in ("path", "label", "split"):
        cell = getattr(row, column)
        if cell is not None and not cell.strip():
            advice = "or leave the column out" if column == "split" else "or remove the line"
            raise _Problem(f"{column} is empty; fill it in, {advice}")


def _read_split(text: str) -> SplitName:
    split = SPLIT_FOLDERS.get(text.strip().lower())
    if split is None:
        raise _Problem(f"split: found {printable(text)}; allowed: {', '.join(SPLIT_NAMES)}")
    return split


class _Finder:
    """Finds the entries of a source that the table speaks of."""

    def __init__(self, entries: Sequence[str], *, folder: str) -> None:
        self._entries = entries
        self._folder = folder

    def find(self, text: str) -> int:
        """Return the place of the entry at a path relative to the table's folder.

        Raises:
            _Problem: There is no such file, or it is outside that folder.
        """
        path = posixpath.normpath(text)
        if "\\" in text and self._place_of(path) is None:
            path = posixpath.normpath(text.replace("\\", "/"))  # a table that was made on Windows
        if path.startswith("/") or path.split("/")[0] == "..":
            raise _Problem(
                f"{printable(text)} is outside the table's folder; give paths relative to it, and put the "
                "images below it"
            )
        place = self._place_of(path)
        if place is None:
            place = self._composed.get(unicodedata.normalize("NFC", posixpath.join(self._folder, path)))
        if place is None:
            where = f" in {printable(self._folder)}" if self._folder else ""
            is_folder = self._place_of(f"{path}/") is not None
            found = "is a folder" if is_folder else f"is no file{where} of the source"
            raise _Problem(f"{printable(text)} {found}; correct the path, or remove the line")
        return place

    def _place_of(self, path: str) -> int | None:
        path = posixpath.join(self._folder, path)
        place = bisect_left(self._entries, path)
        return place if place < len(self._entries) and self._entries[place] == path else None

    @cached_property
    def _composed(self) -> dict[str, int]:
        """Return the place of each file by its composed name: macOS writes accents decomposed."""
        return {
            unicodedata.normalize("NFC", entry): place
            for place, entry in enumerate(self._entries)
            if not (entry.isascii() or entry.endswith("/"))
        }


def _refuse_gaps(columns: _Columns, *, place: str) -> None:
    """Refuse a table without images, with one label, or without a split to train on."""
    if not columns.label_names:
        raise InputError(f"{place}: found no images; give it a line for each below the header")
    if len(columns.label_names) < 2:
        raise InputError(
            f"{place}: found one label, {columns.label_names[0]}; a classifier needs at least two"
        )
    splits = {SPLIT_NAMES[code] for code in set(columns.splits) if code >= 0}
    if splits and "train" not in splits:
        raise InputError(
            f"{place}: split: found {', '.join(sorted(splits))}, but no train; mark the images to train on"
        )
