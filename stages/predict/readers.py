"""What reads files that are in no folder and no archive."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from stages.images.source import UnreadableFile, reason_of, refuse_size
from stages.images.sources.folder import read_regular_file


class NamedFiles:
    """Files anywhere, each named by itself."""

    def read(self, path: str, *, max_bytes: int) -> bytes:
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path would cost more than the call
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise UnreadableFile(explain_missing(error)) from None
        return read_regular_file(path, status, max_bytes=max_bytes)


@dataclass(frozen=True)
class Contents:
    """A file whose bytes are here already."""

    data: bytes

    def read(self, path: str, *, max_bytes: int) -> bytes:
        refuse_size(len(self.data), max_bytes=max_bytes)
        return self.data


@dataclass(frozen=True)
class Nothing:
    """What stands for files that there are not."""

    reason: str

    def read(self, path: str, *, max_bytes: int) -> bytes:
        raise UnreadableFile(self.reason)


def read_here(path: str, mode: int, *, max_bytes: int) -> Contents | Nothing:
    """Read what only this process can: a pipe that somebody writes to, or what it was started with."""
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        return Nothing("is a socket or device, not a file")
    try:
        with Path(path).open("rb") as file:
            return Contents(file.read(max_bytes + 1))
    except OSError as error:
        return Nothing(f"cannot be read: {reason_of(error)}")


def explain_missing(error: Exception) -> str:
    """Return why a path cannot be looked up."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file or folder"
    return f"cannot be opened: {reason_of(error)}"
