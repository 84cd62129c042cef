"""Which images must stay on one side of a split: one group, one file, one picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
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
        return Units(firsts[places], [self.keys[row] for row in rows.tolist()], copies, near)

    @cached_property
    def num_members(self) -> npt.NDArray[np.int64]:
        """Return, at the place of each unit's first image, how many it holds."""
        return np.bincount(self.first, minlength=len(self.first))

    @cached_property
    def members(self) -> dict[int, list[int]]:
        """Return the images of each unit by the unit's first."""
        members: dict[int, list[int]] = {}
        for row, first in enumerate(self.first.tolist()):
            members.setdefault(first, []).append(row)
        return members


def join_units(images: Sequence[FoundImage], fingerprints: Fingerprints, split: Split) -> Units:
    """Return which images stay together.

    Raises:
        InputError: split.group finds something in no path, or in none twice.
    """
    groups = find_groups(images, split)
    copies = find_copies(fingerprints)
    near = np.empty((0, 2), dtype=np.int64)
    if split.near_duplicate_bits != "none":
        near = find_near_duplicates(fingerprints, max_bits=split.near_duplicate_bits)
    digests = fingerprints["sha256"].tobytes()
    keys = [
        f"file {digests[32 * row : 32 * row + 32].hex()}" if group is None else f"group {group}"
        for row, group in enumerate(groups)
    ]
    return Units(join_pairs(len(images), copies, near, _pair_groups(groups)), keys, copies, near)


def find_groups(images: Sequence[FoundImage], split: Split) -> list[str | None]:
    """Return the group of each image: what split.group finds in its key, None where it finds nothing.

    Raises:
        InputError: It finds something in no key, or something else in every one.
    """
    if split.group == "none":
        return [None] * len(images)
    if split.group == "column":
        columns = [image.group for image in images]
        if not any(columns):
            raise InputError(
                "split.group: column: found no groups; give the table of dataset.labels a column group, "
                "or set split.group: none"
            )
        return columns
    matches = [re.search(split.group, image.key) for image in images]
    groups = [
        None if match is None else "\0".join(part or "" for part in match.groups() or (match[0],))
        for match in matches
    ]
    named = [group for group in groups if group is not None]
    if len(set(named)) == len(named):
        found = "finds another text in each path" if named else "finds nothing in any path"
        raise InputError(
            f"split.group: {printable(split.group)}: {found}, as in {printable(images[0].key)}; "
            "write one that finds the same text in the images that belong together, or none"
        )
    return groups


def _pair_groups(groups: Sequence[str | None]) -> Pairs:
    first: dict[str, int] = {}
    pairs = [
        (earliest, row)
        for row, group in enumerate(groups)
        if group is not None and (earliest := first.setdefault(group, row)) != row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
