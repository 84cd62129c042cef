"""The bytes of an archive, to be read at any place from any process."""

import os
import weakref
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from stages.shared.errors import InputError


class ArchiveFile:
    """An open archive.

    Pickled, it is a path: whoever unpickles it opens it anew, once it is read from, and checks that it is
    still the same file. Reading moves no shared offset, so threads and processes need no lock.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        self._path = path
        self._place = place
        self._descriptor: int | None = _open_until_forgotten(self, path)
        self._stamp = _stamp_of(self._descriptor)

    @property
    def num_bytes(self) -> int:
        """Return how many bytes there were when it was first opened."""
        return self._stamp[0]

    def look_at(self) -> os.stat_result | None:
        """Return what the file system says of the archive."""
        return None if self._descriptor is None else os.fstat(self._descriptor)

    def read_at(self, start: int, num_bytes: int) -> bytes:
        """Return so many bytes from a place on, fewer where the archive ends before."""
        if self._descriptor is None:
            descriptor = _open_until_forgotten(self, self._path)
            if _stamp_of(descriptor) != self._stamp:
                raise InputError(f"{self._place}: was changed while it was being read; run it again")
            self._descriptor = descriptor
        # Python would make room for all that a damaged archive claims to hold.
        return _read_whole(self._descriptor, start, min(num_bytes, self.num_bytes - start))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}


class UnpackedFile:
    """What a compressed archive held, in a file without a name, which is gone with its processes.

    Pickled, it is a descriptor that the receiving process gets a duplicate of.
    """

    def __init__(self, descriptor: int) -> None:
        self._take_over(descriptor)

    def look_at(self) -> None:
        """Return nothing: the file is another one in every run."""

    def _take_over(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self.num_bytes = os.fstat(descriptor).st_size

    def read_at(self, start: int, num_bytes: int) -> bytes:
        """Return so many bytes from a place on, fewer where the archive ends before."""
        return _read_whole(self._descriptor, start, min(num_bytes, self.num_bytes - start))

    def __getstate__(self) -> Any:
        return DupFd(self._descriptor)

    def __setstate__(self, duplicate: Any) -> None:
        self._take_over(duplicate.detach())


def _open_until_forgotten(owner: object, path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    weakref.finalize(owner, os.close, descriptor)
    return descriptor


def _stamp_of(descriptor: int) -> tuple[int, int, int]:
    """Return what tells one state of a file from another: size, time of change, number."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _read_whole(descriptor: int, start: int, num_bytes: int) -> bytes:
    """Return the bytes at a place; one call of the system may return fewer than there are, above 2 GiB."""
    if num_bytes <= 0 or start < 0:
        return b""
    data = os.pread(descriptor, num_bytes, start)
    while len(data) < num_bytes and (more := os.pread(descriptor, num_bytes - len(data), start + len(data))):
        data += more
    return data
