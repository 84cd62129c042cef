"""What images come from: something that lists files and reads them. Its kinds stand in `sources/`."""

import os
from collections.abc import Sequence
from typing import Protocol

from stages.shared.text import printable


class FileReader(Protocol):
    """Something that reads files by their paths.

    It can be pickled. It is sent once to each process that reads, and opens its files anew there.
    """

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a file.

        Args:
            path: What names it here.
            max_bytes: A larger file is refused, by its stated size and before it is read if it has one.

        Raises:
            UnreadableFile: The bytes cannot be had; the message says why.
            InputError: The archive is no longer the one that was listed.
        """
        ...


class Source(FileReader, Protocol):
    """Something that holds files: those that are listed are read.

    Paths are relative, with forward slashes; one that ends in a slash is a folder. Nothing is unpacked to
    disk, but for a compressed tar. Links, pipes and devices are listed as files, so that none goes missing
    unseen; reading says what they are.
    """

    def list_entries(self) -> Sequence[str]:
        """Return the path of every file and folder, sorted; folders end in a slash.

        Raises:
            InputError: A folder cannot be listed.
        """
        ...

    def look_at(self, path: str) -> os.stat_result | None:
        """Return what the file system says of a file, or of the archive it is in, without reading it.

        None where that does not say whether its bytes are still the same: it is a link, no regular file, not
        there, or in an archive that was unpacked.
        """
        ...


class UnreadableFile(Exception):
    """One file of a source cannot be read; the others may."""


def refuse_size(num_bytes: int, *, max_bytes: int) -> None:
    """Raise UnreadableFile for a file that is larger than allowed."""
    if num_bytes > max_bytes:
        raise UnreadableFile(f"has {num_bytes:,} bytes, more than the {max_bytes:,} allowed (max_file_bytes)")


def reason_of(error: Exception) -> str:
    """Return what a library or the operating system says, on one line."""
    text = error.strerror if isinstance(error, OSError) else None
    return printable(text or str(error) or type(error).__name__)
