"""Files that an earlier run read and that have not changed since, so that they need not be read again.

A file is told by its path and by what the file system says of it: device, inode, size, and the times of its
last writing and change. Nobody can set the time of change, so a file that was written, replaced or moved has
another one, with one exception: the file system's clock ticks, every few milliseconds or every second, and a
file that changes twice within a tick shows the same time. So, as Git does with its index ("racy git"), a
file's state is noted only if both times lie before the tick in which this run began to look.

The clocks of two file systems may differ, so this holds of files on the one that the record is on; others are
read every time. What is noted is sealed by its own SHA-256: a record that is damaged notes nothing.
"""

import hashlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.images.source import Source

_SEEN = np.dtype([("state", "<u8", (2,)), ("sha256", "u1", (32,))])
"""state: a hash of all that tells a file's state. sha256: of the bytes that it has in this state."""

_FACTS = struct.Struct("<2Q3q")
_SEAL_BYTES = 32
_ROWS_PER_BLOCK = 4096

States = npt.NDArray[np.uint64]
"""Array (num_files, 2); noughts for a file whose state is in doubt."""


class SeenFiles:
    """The record of one folder of packs."""

    def __init__(self, path: Path) -> None:
        """Take up the record that an earlier run wrote.

        Args:
            path: Of the record; it need not be there. Its folder is where the file system's clock is read.
        """
        self._path = path
        # The system sets the time, so it is that of the file system, cut to its ticks as those of files are.
        os.utime(path.parent)
        folder = path.parent.stat()
        self._began_ns, self._device = folder.st_mtime_ns, folder.st_dev
        self._seen = _read(path)

    def look_at(self, source: Source, paths: Iterable[str]) -> States:
        """Return the state that each file of a source is in now. Ask before any of them is read."""
        states = bytearray()
        for path in paths:
            status = source.look_at(path)
            if (
                status is None
                or status.st_dev != self._device
                or max(status.st_mtime_ns, status.st_ctime_ns) >= self._began_ns
            ):
                states += bytes(16)
                continue
            facts = _FACTS.pack(
                status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            )
            name = path.encode("utf-8", "surrogatepass")
            states += hashlib.blake2b(facts + name, digest_size=16).digest()
        return np.frombuffer(states, dtype="<u8").reshape(-1, 2)

    def find(self, states: States) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Return the places of the files that are as they were when they were read, and the SHA-256 of each.

        Returns:
            int64 array (num_same,), ascending, and uint8 array (num_same, 32).
        """
        if not len(self._seen):
            return np.empty(0, dtype=np.int64), np.empty((0, 32), dtype=np.uint8)
        rows = np.searchsorted(self._seen["state"][:, 0], states[:, 0])
        rows = np.minimum(rows, len(self._seen) - 1)
        same = np.flatnonzero((self._seen["state"][rows] == states).all(axis=1) & states.any(axis=1))
        return same, self._seen["sha256"][rows[same]]

    def write(self, states: States, digests: npt.NDArray[np.uint8]) -> None:
        """Note the SHA-256 (N, 32) of the files that were in the given states, and forget all others."""
        order = np.argsort(states[:, 0], kind="stable")
        partial = self._path.with_suffix(".partial")
        seal = hashlib.sha256()
        # Not synced: what a power cut leaves of it is not sealed.
        with partial.open("wb") as file:
            file.write(bytes(_SEAL_BYTES))
            for start in range(0, len(order), _ROWS_PER_BLOCK):
                some = order[start : start + _ROWS_PER_BLOCK]
                some = some[states[some].any(axis=1)]
                rows = np.empty(len(some), dtype=_SEEN)
                rows["state"], rows["sha256"] = states[some], digests[some]
                seal.update(rows.data)
                file.write(rows.data)
            file.seek(0)
            file.write(seal.digest())
        partial.replace(self._path)


def _read(path: Path) -> npt.NDArray[np.void]:
    """Return the record, empty if there is none or a byte of it is not as it was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return np.empty(0, dtype=_SEEN)
    seal, rows = data[:_SEAL_BYTES], memoryview(data)[_SEAL_BYTES:]
    if len(rows) % _SEEN.itemsize or hashlib.sha256(rows).digest() != seal:
        return np.empty(0, dtype=_SEEN)
    return np.frombuffer(rows, dtype=_SEEN)
