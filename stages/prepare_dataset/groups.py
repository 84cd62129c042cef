"""Which images must stay in one split: those of one group, copies of one file, and near duplicates.

Hides how groups are named and joined. All that follows asks for the first row of an image's group, and for
the key by which the group is assigned to a split.
"""

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from stages.images.image_table import ImageTable
from stages.prepare_dataset.duplicates import Pairs, find_copies, find_near_duplicates, join_pairs, look_alike
from stages.shared.errors import InputError, printable

_MANY_BITS, _FEW_BITS = 8, 2
"""What split.near_duplicate_bits: auto takes. Of 200 photographs cropped by 2 % a side 8 bits find 176, and 2
bits 31; of the sample's 500 ones 8 bits chain 460 together, 2 bits 23."""

_MIN_CHAIN = 20
"""Images: a smaller chain is more than half of a class only where the class is small."""

_DENSE = 0.5
"""Of the pairs of a chain: if more of them look alike, it is one picture, no chain. Of the digits 5 % do."""

_SEARCH_SECONDS = 10.0
_SEARCH_SECONDS_PER_PATH = 0.001
"""CPU time that split.group may take for all paths together. A usual one takes microseconds a path; one
that repeats what repeats, such as (a+)+_c, takes twice as long with every letter more."""

Names = npt.NDArray[np.object_]
"""Array of str or None."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Images joined into groups, each of which is never divided between splits."""

    first: npt.NDArray[np.int64]
    """(N,), for each row of the table the first row of its group: itself where it stands alone."""

    names: Names
    """(N,), what split.group finds in each row; None where it finds nothing."""

    copies: Pairs
    """Copies of one file."""

    near: Pairs
    """Near duplicates."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of images in the group of each row (N,); one for a file that is no image."""
        return np.asarray(np.bincount(self.first)[self.first])

    def describe_ties(self, rows: Sequence[int]) -> str:
        """Name what joins some images: "split.group and near duplicates"."""
        chosen = np.zeros(len(self.first), dtype=np.bool_)
        chosen[rows] = True
        names = [name for name in self.names[chosen].tolist() if name is not None]
        ties = {
            "split.group": len(set(names)) < len(names),
            "copies of a file": bool(chosen[self.copies].all(axis=1).any()),
            "near duplicates": bool(chosen[self.near].all(axis=1).any()),
        }
        found = [tie for tie, is_there in ties.items() if is_there] or ["chains through other images"]
        return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)

    def describe(self, table: ImageTable, rows: Sequence[int]) -> str:
        """Say how large a group is, what joins it, and what to change to divide it."""
        within = np.zeros(len(self.first), dtype=np.bool_)
        within[rows] = True
        near, copies = (pairs[within[pairs].all(axis=1)] for pairs in (self.near, self.copies))
        named = pair_by_name(self.names, within)
        ways = {
            "set split.near_duplicate_bits lower or to null": _largest(within, copies, named),
            "write another split.group": _largest(within, copies, near),
        }
        helpful = [way for way, num_left in ways.items() if 2 * num_left <= len(rows)]
        what_to_do = ", or ".join(helpful or ["remove images that belong together"])
        return (
            f"{len(rows):,} images, such as {printable(table.path[rows[0]])} and "
            f"{printable(table.path[rows[-1]])}, stand together as one group, joined by "
            f"{self.describe_ties(rows)}, and a group is never divided; {what_to_do}"
        )

    def key(self, table: ImageTable, row: int) -> str:
        """Return what an image's split is a function of: its named group, or else its file's bytes.

        Never its path, so that renaming moves no image, and never other images, so that adding one moves
        none. The words in it are hashed: other ones would give every image another split.
        """
        name = self.names[row]
        return f"file {table.sha256[row].tobytes().hex()}" if name is None else f"group {name}"


def join_groups(table: ImageTable, split: Split, *, wrapper: str) -> Groups:
    """Return which images stay together.

    Args:
        table: The files of the source.
        split: Says what belongs together.
        wrapper: The start of every path that split.group does not see.

    Raises:
        InputError: split.group joins nothing, or takes too long to search.
    """
    names = _find_names(table, split, wrapper=wrapper)
    copies = find_copies(table)
    near = _find_near(table, copies, split)
    named = pair_by_name(names, table.has_status("decoded"))
    return Groups(join_pairs(len(table), copies, near, named), names, copies, near)


def _find_near(table: ImageTable, copies: Pairs, split: Split) -> Pairs:
    """Return the near duplicates that split.near_duplicate_bits asks for; auto falls back to fewer bits."""
    if split.near_duplicate_bits is None:
        return np.empty((0, 2), dtype=np.int64)
    bits = _MANY_BITS if split.near_duplicate_bits == "auto" else split.near_duplicate_bits
    near = find_near_duplicates(table, copies, max_bits=bits, is_turned=split.near_duplicates_turned)
    if split.near_duplicate_bits != "auto":
        return near
    chained = _find_sparse_chain(table, join_pairs(len(table), copies, near))
    if chained is None:
        return near
    num_chained, num_images = chained
    print(
        f"prepare-dataset: near duplicates: found by {_FEW_BITS} bits, as by {_MANY_BITS} bits "
        f"{num_chained:,} of the {num_images:,} images of one class would be one chain: drawings look alike "
        f"from afar. If these are frames of a film, set split.near_duplicate_bits: {_MANY_BITS}"
    )
    return find_near_duplicates(table, copies, max_bits=_FEW_BITS, is_turned=split.near_duplicates_turned)


def _find_sparse_chain(table: ImageTable, first: npt.NDArray[np.int64]) -> tuple[int, int] | None:
    """Return the images of a class that are one chain, and all of it, where those are more than half.

    In a chain of drawings most images look like a few others only, in a film that stands still like all of
    them; such a film is no reason to look less closely. None where there is no such chain.

    Args:
        table: All images.
        first: (N,), for each the first row that it is joined with.
    """
    rows = np.flatnonzero(table.has_status("decoded"))
    rows = rows[np.lexsort((first[rows], table.label[rows]))]
    labels = table.label[rows].astype(np.int64)
    totals = np.bincount(labels)
    starts = np.flatnonzero((np.diff(first[rows], prepend=-1) != 0) | (np.diff(labels, prepend=-1) != 0))
    sizes = np.diff(starts, append=len(rows))
    for at in np.flatnonzero((sizes >= _MIN_CHAIN) & (2 * sizes > totals[labels[starts]])).tolist():
        chain = rows[starts[at] : starts[at] + sizes[at]]
        others = np.concatenate([np.roll(chain, len(chain) // parts) for parts in (2, 3, 5)])
        if look_alike(table, np.tile(chain, 3), others, max_bits=_MANY_BITS).mean() < _DENSE:
            return len(chain), int(totals[table.label[chain[0]]])
    return None


def _find_names(table: ImageTable, split: Split, *, wrapper: str) -> Names:
    """Return the name of each image's group (N,).

    Images that could not be decoded are included: a pattern that joins images is right also when only one of
    them is left.
    """
    names: Names = np.full(len(table), None, dtype=object)
    is_image = table.has_status("decoded") | table.has_status("undecodable")
    rows = np.flatnonzero(is_image).tolist()
    has_column = bool((table.group[is_image] != "").any())
    if split.group is None or split.group == "column":
        if split.group is None and has_column:
            print("prepare-dataset: the table's column group is not used: set split.group: column to use it")
        if split.group is None:
            return names
        if not has_column:
            raise InputError(
                "split.group: column: found no groups; give the table of dataset.labels a column group, "
                "or set split.group: null"
            )
        for row in rows:
            names[row] = table.group[row] or None
        return names
    pattern = re.compile(split.group)
    distinct: dict[str, str] = {}  # a million paths may have few names, of which one copy each is kept
    num_named = 0
    path = ""
    limit = _SEARCH_SECONDS + _SEARCH_SECONDS_PER_PATH * len(rows)
    try:
        with _limit_cpu_time(limit):
            for row in rows:
                path = table.path[row].removeprefix(wrapper)
                match = pattern.search(path)
                if match is not None:
                    num_named += 1
                    name = "\0".join(part or "" for part in match.groups() or (match[0],))
                    names[row] = distinct.setdefault(name, name)
    except _TooSlow:
        raise InputError(
            f"split.group: {printable(split.group)}: takes more than {limit:,.0f} s of CPU time, and stopped "
            f"at {printable(path)}; write one that repeats nothing that repeats itself, as (a+)+ does"
        ) from None
    if len(distinct) == num_named:
        found = "finds another text in each path" if distinct else "finds nothing in any path"
        example = printable(table.path[rows[0]].removeprefix(wrapper)) if rows else "none at all"
        raise InputError(
            f"split.group: {printable(split.group)}: {found}, as in {example}; "
            "write one that finds the same text in the images that belong together, or null"
        )
    return names


class _TooSlow(Exception):
    """The time is over."""


@contextmanager
def _limit_cpu_time(seconds: float) -> Iterator[None]:
    """Raise _TooSlow in the block after so much CPU time; `re` looks for signals as it searches."""

    def give_up(number: int, frame: FrameType | None) -> NoReturn:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def pair_by_name(names: Names, is_used: npt.NDArray[np.bool_]) -> Pairs:
    """Return each image of a named group with the first one of it."""
    first: dict[str, int] = {}
    pairs = [
        (earliest, row)
        for row in np.flatnonzero(is_used).tolist()
        if names[row] is not None and (earliest := first.setdefault(names[row], row)) != row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _largest(within: npt.NDArray[np.bool_], *pairs: Pairs) -> int:
    """Return the size of the largest group of some rows (N,) that these pairs alone make."""
    return int(np.bincount(join_pairs(len(within), *pairs)[within]).max())
