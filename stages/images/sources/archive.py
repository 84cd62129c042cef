"""What zip and tar archives share: a file that every process reads from, and a compact table of members."""

import os
import re
import weakref
from bisect import bisect_left
from functools import cached_property, lru_cache
from itertools import compress, islice
from operator import ne
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from stages.shared.errors import InputError, shorten

MAX_UNPACKED_RATIO = 1000
MAX_UNPACKED_BYTES = 10**8
"""What an archive may unpack to: so many times its own size, and so much in any case. Photographs unpack to
about what they take, flat drawings as BMP to 120 to 700 times as much, masks to 300 to 800 times."""

MAX_PATH_CHARS = 4096
MAX_NAME_CHARS = 255
MAX_FOLDERS = 64
"""Of a member's path, of each folder's and file's name in it, and of the folders in it, one in the other. The
first two are what file systems allow; longer ones are made to be a burden."""

_OPEN_AT_ONCE = 16
"""Archives that a process keeps open; who reads from more opens some of them again."""

# What a name can hold that makes it another path than it looks, or none inside the archive.
_ODD_NAME = re.compile(r"\\|//|/$|(?:^|/)\.{1,2}(?:/|$)|^/|^[A-Za-z]:/")

Stamp = tuple[int, int, int]
"""Size, time of last change and inode: what tells one state of a file from another."""


class ArchiveFile:
    """An archive's bytes.

    It is pickled as path and stamp. A process that unpickles it opens the file once, when it first reads from
    it, and checks that it is still the same. No shared offset is moved, so threads need no lock.
    """

    def __init__(self, path: str, place: str, stamp: Stamp | None = None) -> None:
        """Open an archive, or with a stamp put it off until somebody reads.

        Args:
            path: Of the file.
            place: What to call it in messages.
            stamp: What the file was like when it was listed.
        """
        self._path = path
        self._place = place
        self._descriptor: int | None = None
        self._stamp = stamp or self._open()

    @property
    def num_bytes(self) -> int:
        """Return how many bytes there were when the archive was listed."""
        return self._stamp[0]

    @cached_property
    def status(self) -> os.stat_result:
        """Return what the file system said of the archive when first asked."""
        return os.fstat(self._open_once())

    def open_stream(self) -> BinaryIO:
        """Return the archive as a file object."""
        return open(self._open_once(), "rb", closefd=False)

    def read_at(self, start: int, num_bytes: int) -> bytes:
        """Return num_bytes from an offset on, fewer where the archive ends before."""
        descriptor = self._open_once()
        # Without a limit Python would make room for all that a damaged archive claims to hold.
        num_bytes = min(num_bytes, self.num_bytes - start)
        if num_bytes <= 0 or start < 0:
            return b""
        data = os.pread(descriptor, num_bytes, start)
        # Linux returns at most 2 GiB at a time.
        while len(data) < num_bytes and (
            more := os.pread(descriptor, num_bytes - len(data), start + len(data))
        ):
            data += more
        return data

    def _open_once(self) -> int:
        if self._descriptor is None and self._open() != self._stamp:
            raise InputError(f"{self._place}: was changed while it was being read; run it again")
        assert self._descriptor is not None
        return self._descriptor

    def _open(self) -> Stamp:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        return status.st_size, status.st_mtime_ns, status.st_ino

    def __reduce__(self) -> tuple[Any, ...]:
        return _take_up, (self._path, self._place, self._stamp)


@lru_cache(maxsize=_OPEN_AT_ONCE)
def _take_up(path: str, place: str, stamp: Stamp) -> ArchiveFile:
    """Return the archive that a pickled reference belongs to, the same one for all of them."""
    return ArchiveFile(path, place, stamp)


class MemberTable:
    """Names of members, sorted, and a row of numbers for each; of equal names the last, as after unpacking.

    A million members take 100 MB: the str of each name, and a row of a NumPy array instead of an object.
    """

    def __init__(self, names: list[str], rows: npt.NDArray[np.void]) -> None:
        """Sort members.

        Args:
            names: In the order of the archive.
            rows: Structured array (num_members,).
        """
        order = sorted(range(len(names)), key=names.__getitem__)  # stable: of equal names the last comes last
        names = [names[row] for row in order]
        is_last = np.ones(len(names), dtype=np.bool_)
        is_last[:-1] = np.fromiter(map(ne, names, islice(names, 1, None)), np.bool_, max(0, len(names) - 1))
        self.names = names if is_last.all() else list(compress(names, is_last))
        self._rows = rows[np.array(order, dtype=np.int64)[is_last]]

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        """Return the numbers of a member; a KeyError if there is none of that name."""
        row: tuple[Any, ...] = self._rows[self._find(name)].item()
        return row

    def copy_row(self, source: str, target: str) -> None:
        """Give a member the numbers of another one; a KeyError if one of the two is missing."""
        self._rows[self._find(target)] = self._rows[self._find(source)]

    def _find(self, name: str) -> int:
        place = bisect_left(self.names, name)
        if place == len(self.names) or self.names[place] != name:
            raise KeyError(name)
        return place


def tidy_name(name: str, *, place: str) -> str:
    """Return a member's name with forward slashes and no `./`, empty for the archive's own top.

    Raises:
        InputError: The name points outside the archive, or is none that a file can have.
    """
    # The regex alone takes a microsecond for each of a million names.
    looks_odd = name[:1] in "./" or name[1:2] == ":" or name[-1:] == "/" or "\\" in name
    if (looks_odd or "/." in name or "//" in name) and _ODD_NAME.search(name):
        name = _drop_dots(name, place=place)
    if len(name) > 2 * MAX_FOLDERS or "\0" in name:
        _check_name(name, place=place)
    return name


def _drop_dots(name: str, *, place: str) -> str:
    slashed = name.replace("\\", "/")
    parts = PurePosixPath(slashed).parts
    if slashed.startswith("/") or ".." in parts or re.match("[A-Za-z]:/", slashed):
        raise InputError(
            f"{place}: holds {shorten(name, limit=200)}, which climbs out of the archive; "
            "re-create it with paths that stay inside"
        )
    return "/".join(parts) + ("/" if parts and slashed.endswith("/") else "")


def _check_name(name: str, *, place: str) -> None:
    parts = name.split("/")
    longest = max(parts, key=len)
    if "\0" in name:
        found, allowed = "a null byte in its name", "none"
    elif len(name) > MAX_PATH_CHARS:
        found, allowed = f"a path of {len(name):,} characters", f"at most {MAX_PATH_CHARS:,}"
    elif len(longest) > MAX_NAME_CHARS:
        found, allowed = f"a name of {len(longest):,} characters", f"at most {MAX_NAME_CHARS}"
    elif len(parts) > MAX_FOLDERS + 1:
        found, allowed = f"{len(parts) - 1:,} folders, one in the other", f"at most {MAX_FOLDERS}"
    else:
        return
    raise InputError(
        f"{place}: holds {shorten(name, limit=200)}: found {found}; allowed: {allowed}; "
        "re-create it with other names"
    )


def check_unpacked_size(num_bytes: float, *, num_packed: int, place: str) -> None:
    """Refuse an archive of num_packed bytes that unpacks to too many.

    Raises:
        InputError: It unpacks to more than MAX_UNPACKED_BYTES and MAX_UNPACKED_RATIO times its own size.
    """
    limit = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * num_packed)
    if num_bytes > limit:
        raise InputError(
            f"{place}: has {num_packed:,} bytes and unpacks to more than {limit:,}; allowed: "
            f"{MAX_UNPACKED_RATIO:,} times its size, or {MAX_UNPACKED_BYTES:,}; if you trust it, unpack it "
            "yourself and give the folder"
        )


def open_archive_file(path: Path, *, place: str) -> ArchiveFile:
    """Return an archive that lies on the disk."""
    return ArchiveFile(os.path.abspath(path), place)  # noqa: PTH100 - resolve() would follow links
