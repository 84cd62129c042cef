"""What every kind of source offers, and how one of its files is read in another process."""

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from stages.shared.errors import InputError, printable


class UnreadableFile(Exception):
    """One file of a source cannot be read; the others may."""


class FileRef(Protocol):
    """Where one file is: small, picklable, and readable in any process."""

    def read(self, max_bytes: int) -> bytes:
        """Return the bytes of the file.

        Args:
            max_bytes: A larger file is refused, before it is read if its size is stated somewhere.

        Raises:
            UnreadableFile: The bytes cannot be had; the message says why.
            InputError: The archive is no longer the one that was listed.
        """
        ...


class ListedFile(FileRef, Protocol):
    """Where one of the files is that a source lists."""

    def read_start(self, num_bytes: int) -> bytes:
        """Return the first bytes of the file, fewer where it is shorter; raises what `read` does.

        Of a member of a zip no checksum is compared.
        """
        ...


class Source(ABC):
    """A folder or an archive.

    Paths are relative, with forward slashes. Nothing is unpacked to disk, but for a compressed tar. Links,
    pipes and devices are listed as files, so that none goes missing unseen; reading says what they are.
    """

    @abstractmethod
    def list_entries(self) -> Sequence[str]:
        """Return the path of every file and folder, sorted; folders end in a slash.

        Raises:
            InputError: A folder cannot be listed.
        """

    @abstractmethod
    def locate(self, path: str) -> ListedFile:
        """Return where a listed file is."""

    @abstractmethod
    def stat(self, path: str) -> os.stat_result | None:
        """Return what the file system says of a file, or of the archive it is in, without reading it.

        None where that does not prove that the bytes are unchanged: the file is a link, no regular file,
        gone, or in an archive that was unpacked.
        """

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a listed file; FileRef.read says what may go wrong."""
        return self.locate(path).read(max_bytes)


def check_size(num_bytes: int, *, max_bytes: int) -> None:
    """Raise UnreadableFile for a file that is larger than allowed."""
    if num_bytes > max_bytes:
        raise UnreadableFile(f"has {num_bytes:,} bytes, more than the {max_bytes:,} allowed (max_file_bytes)")


_OF_THE_FILE = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EOVERFLOW, errno.EFBIG, errno.EILSEQ),
}
"""Errors that say what a file is. All others say how the machine is: that a disk fails, a server is away."""


def explain_unreadable(error: OSError, *, path: str) -> UnreadableFile | InputError:
    """Return what to raise for a file that the operating system does not give.

    Returns:
        UnreadableFile for what the file is, so that it is left out; InputError, which stops the stage, for
        what the machine is: the next run may read it.
    """
    reason = f"cannot be read: {reason_of(error)}"
    if error.errno in _OF_THE_FILE:
        return UnreadableFile(reason)
    return InputError(
        f"{printable(path)}: {reason}; mend that and run again, or move the file out of the source"
    )


def reason_of(error: Exception) -> str:
    """Return what a library or the operating system says, on one line."""
    text = error.strerror if isinstance(error, OSError) else None
    return printable(text or str(error) or type(error).__name__)
