"""Which images must stay on one side of a split: one group, one file, one picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from stages.prepare_dataset.details import Details
from stages.prepare_dataset.duplicates import Pairs, find_copies, find_near_duplicates, join_pairs
from stages.prepare_dataset.fingerprint import Fingerprints
from stages.prepare_dataset.found_images import FoundImage
from stages.shared.errors import InputError
from stages.shared.text import printable


@dataclass(frozen=True)
class Units:
    """Images joined into units; a unit is never divided between splits."""

    first: npt.NDArray[np.int64]
    """For each image the first one of its unit, itself for one that stands alone."""

    keys: Sequence[str]
    """What an image draws a side by: its group, or else its file's bytes.

    Never its place in the source, so that renaming moves no image, and never the other images, so that adding
    one moves none.
    """

    copies: Pairs
    """Copies of one file."""

    near: Pairs
    """Near duplicates."""

    def of(self, keep: npt.NDArray[np.bool_]) -> "Units":
        """Return the units without some of the images; what one of those joined stays joined."""
        rows = np.flatnonzero(keep)
        _, firsts, places = np.unique(self.first[rows], return_index=True, return_inverse=True)
        place = np.cumsum(keep) - 1
        copies, near = (place[pairs[keep[pairs].all(axis=1)]] for pairs in (self.copies, self.near))
        return Units(firsts[places], _Chosen(self.keys, rows), copies, near)

    @cached_property
    def members(self) -> dict[int, list[int]]:
        """Return the images of each unit by the unit's first; units of one image are not there."""
        joined = np.flatnonzero(self.first != np.arange(len(self.first)))
        members: dict[int, list[int]] = {}
        for row, first in zip(joined.tolist(), self.first[joined].tolist(), strict=True):
            members.setdefault(first, [first]).append(row)
        return members


@dataclass(frozen=True)
class Groups(Sequence[str | None]):
    """The group of each image, None where it has none."""

    codes: npt.NDArray[np.int32]
    """Place in `names` for each image, -1 for one without a group."""

    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, row: int) -> str | None: ...
    @overload
    def __getitem__(self, row: slice) -> "Groups": ...
    def __getitem__(self, row: int | slice) -> "str | Groups | None":
        if isinstance(row, slice):
            return Groups(self.codes[row], self.names)
        code = self.codes.item(row)
        return None if code < 0 else self.names[code]

    def pair(self) -> Pairs:
        """Return each image of a group with the first one of it."""
        rows = np.flatnonzero(self.codes >= 0)
        _, firsts, places = np.unique(self.codes[rows], return_index=True, return_inverse=True)
        pairs = np.stack((rows[firsts[places]], rows), axis=1)
        return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]])


@dataclass(frozen=True)
class _Keys(Sequence[str]):
    """What each image draws a side by, made when it is asked for."""

    fingerprints: Fingerprints
    groups: Groups

    def __len__(self) -> int:
        return len(self.fingerprints)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "_Keys": ...
    def __getitem__(self, row: int | slice) -> "str | _Keys":
        if isinstance(row, slice):
            return _Keys(self.fingerprints[row], self.groups[row])
        group = self.groups[row]
        if group is not None:
            return f"group {group}"
        return f"file {self.fingerprints['sha256'][row].tobytes().hex()}"


@dataclass(frozen=True)
class _Chosen(Sequence[str]):
    """Some of the keys."""

    keys: Sequence[str]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "_Chosen": ...
    def __getitem__(self, row: int | slice) -> "str | _Chosen":
        if isinstance(row, slice):
            return _Chosen(self.keys, self.rows[row])
        return self.keys[self.rows.item(row)]


def join_units(
    images: Sequence[FoundImage], fingerprints: Fingerprints, details: Details, split: Split
) -> Units:
    """Return which images stay together.

    Raises:
        InputError: split.group finds something in no path, or in none twice.
    """
    groups = find_groups(images, split)
    copies = find_copies(fingerprints)
    near = np.empty((0, 2), dtype=np.int64)
    if split.near_duplicate_bits != "none":
        near = find_near_duplicates(fingerprints, details, max_bits=split.near_duplicate_bits)
    return Units(
        join_pairs(len(images), copies, near, groups.pair()), _Keys(fingerprints, groups), copies, near
    )


def find_groups(images: Sequence[FoundImage], split: Split) -> Groups:
    """Return the group of each image: what split.group finds in its key, None where it finds nothing.

    Raises:
        InputError: It finds something in no key, or something else in every one.
    """
    if split.group == "none":
        return Groups(np.full(len(images), -1, dtype=np.int32), ())
    codes = np.empty(len(images), dtype=np.int32)
    code_of: dict[str, int] = {}
    pattern = None if split.group == "column" else re.compile(split.group)
    for row, image in enumerate(images):
        group = image.group if pattern is None else _search(pattern, image.key)
        codes[row] = -1 if group is None else code_of.setdefault(group, len(code_of))
    if pattern is None and not code_of:
        raise InputError(
            "split.group: column: found no groups; give the table of dataset.labels a column group, "
            "or set split.group: none"
        )
    if pattern is not None and len(code_of) == (codes >= 0).sum():
        found = "finds another text in each path" if code_of else "finds nothing in any path"
        raise InputError(
            f"split.group: {printable(split.group)}: {found}, as in {printable(images[0].key)}; "
            "write one that finds the same text in the images that belong together, or none"
        )
    return Groups(codes, tuple(code_of))


def _search(pattern: re.Pattern[str], key: str) -> str | None:
    match = pattern.search(key)
    return None if match is None else "\0".join(part or "" for part in match.groups() or (match[0],))
