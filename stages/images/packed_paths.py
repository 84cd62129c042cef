"""Paths by the million, in one piece of memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_PATHS_AT_ONCE = 4096

_Edges = npt.NDArray[np.uint32] | npt.NDArray[np.int64]


class PackedPaths(Sequence[str]):
    """A sequence of paths that takes 8 bytes for each beyond its text; a list of str takes 57.

    The text is UTF-8, except that lone surrogates, which stand for bytes of a name that are not UTF-8, are
    kept as they are. So the order of the bytes is the order of the str.
    """

    __slots__ = ("_blob", "_ends", "_next", "_starts")

    def __init__(self, paths: Iterable[str]) -> None:
        blob, bounds = bytearray(), array("q", [0])
        for path in paths:
            blob += path.encode("utf-8", "surrogatepass")
            bounds.append(len(blob))
        edges: _Edges = np.frombuffer(bounds, dtype=np.int64)
        if len(blob) < 2**32:
            edges = edges.astype(np.uint32)
        self._set(bytes(blob), edges[:-1], edges[1:])

    def _set(self, blob: bytes, starts: _Edges, ends: _Edges) -> None:
        self._blob, self._starts, self._ends = blob, starts, ends
        self._next = 0

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self._raw(place).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogatepass") for name in self.encoded())

    def encoded(self) -> Iterator[bytes]:
        """Yield the paths as they are stored."""
        for first in range(0, len(self), _PATHS_AT_ONCE):
            some = slice(first, first + _PATHS_AT_ONCE)
            for start, end in zip(self._starts[some].tolist(), self._ends[some].tolist(), strict=True):
                yield self._blob[start:end]

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "PackedPaths":
        """Return the paths at the given places, in their order, or where an array is true; text is shared."""
        taken = PackedPaths.__new__(PackedPaths)
        taken._set(self._blob, self._starts[rows], self._ends[rows])
        return taken

    def find(self, path: str) -> int:
        """Return the place of a path, where the paths are sorted; a KeyError if it is not there.

        Whoever asks for one path after the other gets each without a search.
        """
        wanted = path.encode("utf-8", "surrogatepass")
        place = self._next
        if place >= len(self) or self._raw(place) != wanted:
            place = self._search(wanted)
        self._next = place + 1
        return place

    def _search(self, wanted: bytes) -> int:
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(self) or self._raw(low) != wanted:
            raise KeyError(wanted.decode("utf-8", "surrogatepass"))
        return low

    def _raw(self, place: int) -> bytes:
        return self._blob[self._starts.item(place) : self._ends.item(place)]

    def __getstate__(self) -> tuple[bytes, _Edges, _Edges]:
        return self._blob, self._starts, self._ends

    def __setstate__(self, state: tuple[bytes, _Edges, _Edges]) -> None:
        self._set(*state)


def sort_members(names: PackedPaths, members: npt.NDArray[Any]) -> tuple[PackedPaths, npt.NDArray[Any]]:
    """Sort an archive's members by name; of several of one name the last stays, as after unpacking.

    Args:
        names: In the order of the archive.
        members: Array (num_members,) of what there is to know of each.
    """
    # Sorting keys that hold their own place needs half the memory of sorting places by key. No name holds a
    # zero byte, so what stands behind one decides only between equal names.
    keys = [b"%b\0%b" % (name, place.to_bytes(8, "big")) for place, name in enumerate(names.encoded())]
    keys.sort()
    order = np.fromiter((int.from_bytes(key[-8:], "big") for key in keys), np.int64, len(keys))
    del keys
    names = names.take(order)
    is_last = np.ones(len(names), dtype=np.bool_)
    for place, (name, following) in enumerate(pairwise(names.encoded())):
        is_last[place] = name != following
    return names.take(is_last), members[order[is_last]]
