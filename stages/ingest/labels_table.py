"""A table of labels: a CSV `path,label[,split][,group]` that stands in the source beside the images.

Tables of other tools have other names for these columns, more columns, other separators, paths of another
machine, or ids in place of paths. What can be meant in one way only is taken, and a note says for what.
"""

import csv
import io
import posixpath
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from schemas.shared.manifest import SPLIT_NAMES
from stages.images.image_names import find_clutter, has_image_suffix, suffix_of
from stages.images.image_table import STATUSES, FileStatus, make_table
from stages.ingest.layout import read_split_name
from stages.ingest.listing import (
    Listing,
    check_class_names,
    drop_clutter,
    explain,
    name_class,
    text_column,
)
from stages.shared.errors import InputError, printable, shorten

_COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        "path",
        "filename filepath file imagepath imagefile imagename image images img imgpath fname",
        "imageid imgid",
        "id name",
    ),
    "label": ("label", "labels labelname class classname category categoryname target"),
    "split": ("split", "subset partition"),
    "group": ("group",),
}
"""What a column may be called, in small letters alone; names that say it better come first."""

_REQUIRED = ("path", "label")
_SEPARATORS = ",;\t|"
_HEADER = "the header that works is path,label, and split and group behind them if there are any"
_LIKENESS = 0.75
"""From which on an unknown column is taken for a typo of a missing one: `spilt`, `gruop`."""

_ABSOLUTE = re.compile("/|[A-Za-z]:/")

_MAX_LINES = 10
"""Mistakes that are shown; the rest are counted."""

_MAX_WRONG = 1000
"""Mistakes after which reading stops: one in a million lines is told as soon as one in a thousand."""

_MAX_COLUMNS = 1000
_MAX_ROW_CHARS = 2**20
"""Of a line, and of all that the quotes in it hold."""

_MAX_PATH_CHARS = 4096
_MAX_LABEL_CHARS = 255
"""Of a label and of a group: what a folder's name may have."""


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
    lines = _Lines(data, place=place)
    finder = _Finder(entries, folder=posixpath.dirname(table), table=table, source=name)
    found = _read_labels(lines, finder, place=place)
    classes = sorted({labelled.label for labelled in found.values()})
    splits = {labelled.split for labelled in found.values()} - {-1}
    _check_gaps(classes, splits, place=place)
    check_class_names(classes, place=place)
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
        reason=text_column(
            [_explain(path, STATUSES[code]) for path, code in zip(paths, status, strict=True)]
        ),
    )
    given = tuple(SPLIT_NAMES[code] for code in sorted(splits))
    notes = tuple(f"{printable(table)}: {note}" for note in (*lines.notes, *finder.notes))
    return Listing(listed, tuple(classes), given, table.removesuffix(labels), num_clutter, notes)


def _explain(path: str, status: FileStatus) -> str:
    if status != "not_an_image":
        return explain(status)
    suffix = printable(suffix_of(path))
    return f"is not in the table, and {suffix} is no image suffix" if suffix else "is not in the table"


def _read_labels(lines: "_Lines", finder: "_Finder", *, place: str) -> dict[str, _Labels]:
    """Return what the table says of each file it names, by the file's path in the source.

    Raises:
        InputError: One line for each of the first few mistakes.
    """
    found: dict[str, _Labels] = {}
    problems: list[str] = []
    num_problems = 0
    for line in lines:
        try:
            _check_cells(line)
            path = finder.find(line.path)
            if path in found:
                first = found[path].line
                raise _Problem(f"{printable(line.path)} is in line {first} already; keep one of them")
            split = -1 if line.split is None else _read_split(line.split)
            found[path] = _Labels(
                line.number, name_class(line.label.strip()), split, (line.group or "").strip()
            )
        except _Problem as problem:
            num_problems += 1
            if num_problems <= _MAX_LINES:
                problems.append(f"{place}:{line.number}: {problem}")
            if num_problems == _MAX_WRONG:
                problems.append(f"{place}:{line.number}: reading stopped after this one")
                break
    if num_problems > _MAX_LINES:
        problems.insert(_MAX_LINES, f"{place}: {num_problems - _MAX_LINES:,} more lines are wrong")
    if problems:
        raise InputError("\n".join(problems))
    return found


class _Lines:
    """The lines of a table below its header; empty ones are skipped."""

    def __init__(self, data: bytes, *, place: str) -> None:
        """Take a table's bytes; messages call it `place`."""
        self._text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
        self._place = place
        self._number = 1
        self._num_chars = 0
        """Of the row that is being read."""

        self.notes: list[str] = []
        """Which column and separator were read as what, once the lines were read."""

    def __iter__(self) -> Iterator[_Line]:
        """Yield the lines.

        Raises:
            InputError: It is not UTF-8, not CSV, or has no header of known columns.
        """
        try:
            yield from self._read()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._place}: is not UTF-8 (byte {error.object[error.start]:#04x}, somewhere from line "
                f"{self._number} on); save it as CSV UTF-8"
            ) from None
        except csv.Error as error:
            raise InputError(
                f"{self._place}:{self._number}: is not CSV: {printable(str(error))}; save it again"
            ) from None

    def _read(self) -> Iterator[_Line]:
        texts = self._read_texts()
        first = next(texts, "")
        num_skipped = 0
        if re.match("sep=.\r?\n", first):  # a hint for Excel
            first, num_skipped = next(texts, ""), 1
        separator = max(_SEPARATORS, key=lambda separator: _count_known(first, separator))
        reader = csv.reader(chain([first], texts), delimiter=separator, strict=True)
        self._number += num_skipped
        header = next(reader, [])
        columns = self._read_header(header)
        self._number = reader.line_num + num_skipped + 1
        self._num_chars = 0
        for cells in reader:
            if cells and len(cells) != len(header):
                raise InputError(
                    f"{self._place}:{self._number}: found {len(cells)} cells, where the header has "
                    f"{len(header)}; give it as many, and put quotes around a cell that holds a separator"
                )
            if cells:
                split, group = (
                    cells[columns[name]] if name in columns else None for name in ("split", "group")
                )
                yield _Line(self._number, cells[columns["path"]], cells[columns["label"]], split, group)
            self._number = reader.line_num + num_skipped + 1
            self._num_chars = 0

    def _read_texts(self) -> Iterator[str]:
        """Yield lines of text, which are rows or parts of one."""
        while text := self._text.readline(_MAX_ROW_CHARS + 1):
            self._num_chars += len(text)
            if self._num_chars > _MAX_ROW_CHARS:
                raise InputError(
                    f"{self._place}:{self._number}: has more than {_MAX_ROW_CHARS:,} characters; is it a "
                    "table of labels, and does every quote end?"
                )
            yield text

    def _read_header(self, cells: Sequence[str]) -> dict[str, int]:
        """Return the position of each column that is there."""
        place = f"{self._place}:{self._number}"
        if len(cells) > _MAX_COLUMNS:
            raise InputError(
                f"{place}: found {len(cells):,} columns; allowed: at most {_MAX_COLUMNS:,}; "
                "keep path, label, split and group"
            )
        shown = shorten(",".join(cells), limit=200)
        names = [_plain(cell) for cell in cells]
        columns = {column: found for column in _COLUMNS if (found := _find_column(column, names))}
        for column, found in columns.items():
            if len(found) > 1 and names[found[0]] == names[found[1]]:
                raise InputError(f"{place}: found the column {names[found[0]]} twice; keep one of them")
            if len(found) > 1:
                either = " and ".join(printable(cells[position].strip()) for position in found)
                raise InputError(
                    f"{place}: found {either}, each of which could be the {column}; rename one to {column}"
                )
        used = {position for found in columns.values() for position in found}
        unused = [position for position in range(len(cells)) if position not in used]
        for column in (column for column in _COLUMNS if column not in columns):
            known = " ".join(_COLUMNS[column]).split()
            for position in unused:
                if near := get_close_matches(names[position], known, n=1, cutoff=_LIKENESS):
                    found_name = printable(cells[position].strip())
                    raise InputError(f"{place}: unknown column {found_name}; did you mean {near[0]}?")
        if not columns:
            raise InputError(f"{place}: found {shown or 'nothing'}, which is no header; {_HEADER}")
        for column in _REQUIRED:
            if column not in columns:
                raise InputError(f"{place}: found {shown}, without the column {column}; {_HEADER}")
        taken = [
            f"{printable(cells[position].strip())} for {column}"
            for column, (position,) in columns.items()
            if names[position] != column
        ]
        ignored = [printable(cells[position].strip()) for position in unused if names[position]]
        says = (("took ", taken), ("ignored ", ignored))
        if note := "; ".join(verb + shorten(", ".join(what), limit=200) for verb, what in says if what):
            self.notes.append(note)
        return {column: position for column, (position,) in columns.items()}


def _plain(cell: str) -> str:
    """Return a column's name in small letters alone: `File_Name` as `filename`."""
    return re.sub(r"[\W_]+", "", cell.lower())


def _find_column(column: str, names: Sequence[str]) -> list[int]:
    """Return where the best of a column's names stand; nothing if none does."""
    for known in _COLUMNS[column]:
        if found := [position for position, name in enumerate(names) if name in known.split()]:
            return found
    return []


def _count_known(line: str, separator: str) -> int:
    cells = next(csv.reader([line], delimiter=separator), [])
    names = [_plain(cell) for cell in cells[:_MAX_COLUMNS]]
    return sum(bool(_find_column(column, names)) for column in _COLUMNS)


def _check_cells(line: _Line) -> None:
    for column in ("path", "label", "split"):
        cell = getattr(line, column)
        if cell is not None and not cell.strip():
            advice = "or leave the column out" if column == "split" else "or remove the line"
            raise _Problem(f"{column} is empty; fill it in, {advice}")
    for column, limit in (
        ("path", _MAX_PATH_CHARS),
        ("label", _MAX_LABEL_CHARS),
        ("group", _MAX_LABEL_CHARS),
    ):
        if len(cell := getattr(line, column) or "") > limit:
            raise _Problem(f"{column} has {len(cell):,} characters; allowed: at most {limit:,}")


def _read_split(text: str) -> int:
    split = read_split_name(text)
    if split is None:
        raise _Problem(f"split: found {shorten(text, limit=200)}; allowed: {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES.index(split)


class _Finder:
    """Finds the files of a source that the table names."""

    def __init__(self, entries: Sequence[str], *, folder: str, table: str, source: str) -> None:
        self._entries = entries
        self._folder = folder
        self._table = table
        self._source = f"{source}/"
        self._num_loose = 0
        self._example = ""

    @property
    def notes(self) -> list[str]:
        """Return what was found under another path than the table has."""
        if not self._num_loose:
            return []
        return [f"{self._num_loose:,} paths were completed or shortened, such as {self._example}"]

    def find(self, text: str) -> str:
        """Return the entry at a path relative to the table's folder.

        Spaces around it do not count. Where there is no such file, the one is taken that the path can only
        mean: in another case, in a folder that the path lacks, or with a suffix that it lacks. Of a path of
        another machine the folders at the start are dropped.

        Raises:
            _Problem: There is no such file, several could be meant, or it is outside that folder.
        """
        slashed = text.strip().replace("\\", "/")  # a table made on Windows
        from_here = slashed.removeprefix(self._source)
        for path in dict.fromkeys(map(posixpath.normpath, (text, text.strip(), slashed, from_here))):
            if path.startswith(("/", "..")):
                continue
            entry = self._entry_at(path)
            if entry is None:
                entry = self._composed.get(unicodedata.normalize("NFC", posixpath.join(self._folder, path)))
            if entry is not None:
                return entry
        path = posixpath.normpath(slashed)
        if path.split("/")[0] == "..":
            raise _Problem(
                f"{printable(text)} is outside the table's folder; give paths relative to it, and put the "
                "images below it"
            )
        if self._entry_at(f"{path}/") is not None:
            raise _Problem(f"{printable(text)} is a folder; correct the path, or remove the line")
        entries = self._find_loosely(path)
        if not entries:
            where = f" in {printable(self._folder)}" if self._folder else ""
            raise _Problem(
                f"{printable(text)} is no file{where} of the source; correct the path, or remove the line"
            )
        if len(entries) > 1:
            raise _Problem(
                f"{printable(text)} could be {printable(entries[0])} or {printable(entries[1])}; "
                "write the whole path"
            )
        self._num_loose += 1
        self._example = self._example or f"{printable(text.strip())} to {printable(entries[0])}"
        return entries[0]

    def _entry_at(self, path: str) -> str | None:
        path = posixpath.join(self._folder, path)
        place = bisect_left(self._entries, path)
        return path if place < len(self._entries) and self._entries[place] == path else None

    def _find_loosely(self, path: str) -> list[str]:
        """Return the entries that a path may mean, at most two, those alone that fit best."""
        wanted = _loose_parts(path)
        suffix = _loose_suffix(path)
        suffixes = [suffix] if suffix else self._suffixes
        keys = [_loose_key(wanted, each) for each in suffixes]
        if found := self._take_two(f"{key}\0" for key in keys):
            return found
        if _ABSOLUTE.match(path):  # the source may hold only the last of its folders
            ends = (wanted[-depth:] for depth in range(1, min(len(wanted), self._max_depth + 1)))
            keys += [f"{_loose_key(end, each)}\0" for end in ends for each in suffixes]
        return self._take_two(keys)

    def _take_two(self, starts: Iterable[str]) -> list[str]:
        """Return the first two entries, in their order, whose keys start in one of some ways."""
        found: list[str] = []
        for start in starts:
            first = bisect_left(self._keys, start)
            keys = self._keys[first : first + 2]
            found += [key.partition("\0")[2] for key in keys if key.startswith(start)]
        return sorted(found)[:2]

    @cached_property
    def _keys(self) -> list[str]:
        """Return a key for each file below the table's folder, sorted, and the file's path behind it.

        Keys hold the path backwards, so that all files that may be meant by the end of a path are neighbours.
        """
        prefix = f"{self._folder}/" if self._folder else ""
        return sorted(
            f"{_loose_key(_loose_parts(entry.removeprefix(prefix)), _loose_suffix(entry))}\0{entry}"
            for entry in self._entries
            if entry.startswith(prefix)
            and not (entry.endswith("/") or entry == self._table or find_clutter(entry))
        )

    @cached_property
    def _suffixes(self) -> list[str]:
        return sorted({key.partition("/")[0] for key in self._keys})

    @cached_property
    def _max_depth(self) -> int:
        return max((entry.count("/") + 1 for entry in self._entries), default=0)

    @cached_property
    def _composed(self) -> dict[str, str]:
        """Return each file by its composed name: macOS writes accents decomposed."""
        return {
            unicodedata.normalize("NFC", entry): entry
            for entry in self._entries
            if not (entry.isascii() or entry.endswith("/"))
        }


def _loose_parts(path: str) -> list[str]:
    """Return folders and name of a path, whatever their case, without a suffix of images and a drive."""
    stem = path[: -len(suffix_of(path))] if has_image_suffix(path) else path
    parts = unicodedata.normalize("NFC", stem).casefold().split("/")
    return parts[1:] if _ABSOLUTE.match(path) else parts


def _loose_key(parts: Sequence[str], suffix: str) -> str:
    return f"{suffix}/{'/'.join(reversed(parts))}/"


def _loose_suffix(path: str) -> str:
    """Return a suffix of images, in one spelling; empty where there is none."""
    suffix = suffix_of(path) if has_image_suffix(path) else ""
    return {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix, suffix)


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
