"""A folder on disk."""

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stages.images.sources.source import (
    ListedFile,
    Source,
    UnreadableFile,
    check_size,
    explain_unreadable,
    reason_of,
)
from stages.shared.errors import InputError, printable
from stages.shared.paths import Walk

_DVC_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NONBLOCK


class FolderSource(Source):
    """A folder on disk.

    A link to a file is followed if the file is inside the folder, or in a cache of DVC's, which may leave
    links to its files there (cache.type symlink). Links to folders are listed as empty folders: DVC does not
    look behind them, so that a change there would go unseen.
    """

    def __init__(self, root: Path, *, place: str, walk: Callable[..., Walk] = os.walk) -> None:
        """Take a folder that need not be listed yet; messages call it `place`, and `walk` lists it."""
        self._root = os.path.abspath(root)  # noqa: PTH100 - resolve() would follow links
        self._place = place
        self._walk = walk

    def list_entries(self) -> list[str]:
        entries = []
        for folder, subfolders, files in self._walk(self._root, onerror=self._raise):
            relative = os.path.relpath(folder, self._root)
            prefix = "" if relative == "." else f"{relative}/"
            entries += [f"{prefix}{name}/" for name in subfolders]
            entries += [f"{prefix}{name}" for name in files]
        return sorted(entries)

    def locate(self, path: str) -> ListedFile:
        return FolderFile(self._root, path)

    def stat(self, path: str) -> os.stat_result | None:
        try:
            status = os.lstat(f"{self._root}/{path}")
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _raise(self, error: OSError) -> None:
        folder = printable(str(error.filename).removeprefix(self._root))
        raise InputError(
            f"{self._place}{folder}: cannot be listed: {reason_of(error)}; "
            "make it readable, or move it out of the source"
        )


class FolderFile(NamedTuple):
    """Where a file of a folder is."""

    root: str
    path: str

    def read(self, max_bytes: int) -> bytes:
        return read_and_close(self._open(), max_bytes=max_bytes, path=self._full_path)

    def read_start(self, num_bytes: int) -> bytes:
        descriptor = self._open()
        try:
            return os.read(descriptor, num_bytes)
        except OSError as error:
            raise explain_unreadable(error, path=self._full_path) from None
        finally:
            os.close(descriptor)

    @property
    def _full_path(self) -> str:
        return f"{self.root}/{self.path}"

    def _open(self) -> int:
        """Return a descriptor of the file.

        Raises:
            UnreadableFile: It is a link out of the folder, no regular file, or cannot be opened.
            InputError: The machine does not open it.
        """
        try:
            try:
                return _open_below(self.root, self.path)
            except _LinkFound:
                return self._open_target()
        except OSError as error:
            raise explain_unreadable(error, path=self._full_path) from None

    def _open_target(self) -> int:
        """Return a descriptor of the file that the file, a link, leads to."""
        target = os.path.realpath(f"{self.root}/{self.path}", strict=True)
        top = os.path.realpath(self.root) + os.sep
        if target.startswith(top):
            return _open_below(top, target.removeprefix(top))
        if _DVC_OBJECT.search(target):
            return open_regular_file(target)
        raise UnreadableFile(
            f"is a link out of the source, to {printable(target)}; put the file itself there"
        )


class _LinkFound(UnreadableFile):
    """There is a link where the file was."""

    def __init__(self) -> None:
        super().__init__("was replaced by a link while it was read; run again when nothing changes the files")


def _open_below(folder: str, path: str) -> int:
    """Return a descriptor of a file in a folder. No link is followed on the way from the one to the other."""
    *inner, name = path.split("/")
    descriptor = os.open(folder, _FOLDER)
    try:
        for part in inner:
            above = descriptor
            descriptor = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
        return open_regular_file(name, folder=descriptor)
    finally:
        os.close(descriptor)


def open_regular_file(path: str, *, folder: int | None = None, follows_links: bool = False) -> int:
    """Return a descriptor of a regular file, for reading.

    It is looked at before it is opened, because opening a device may do something, and again afterwards,
    because it may be another by then. Opening a pipe that took its place does not wait.

    Args:
        path: The file.
        folder: A descriptor of the folder that the path is relative to.
        follows_links: Whether the file itself may be a link.

    Raises:
        UnreadableFile: It is no regular file.
        OSError: It cannot be opened.
    """
    _check_regular(os.stat(path, dir_fd=folder, follow_symlinks=follows_links))
    try:
        descriptor = os.open(path, _FILE if follows_links else _FILE | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP and not follows_links:
            raise _LinkFound from None
        raise
    try:
        _check_regular(os.fstat(descriptor))
    except UnreadableFile:
        os.close(descriptor)
        raise
    return descriptor


def read_and_close(descriptor: int, *, max_bytes: int, path: str) -> bytes:
    """Return the bytes of an open file.

    Args:
        descriptor: Of the file; it is closed.
        max_bytes: A larger file is refused.
        path: What messages call it.

    Raises:
        UnreadableFile: It is too large, or cannot be read.
        InputError: The machine does not give its bytes.
    """
    try:
        num_bytes = os.fstat(descriptor).st_size
        check_size(num_bytes, max_bytes=max_bytes)
        data = os.read(descriptor, num_bytes + 1)
        if len(data) != num_bytes:  # it changes just now, or the system gives it in parts
            with open(descriptor, "rb", closefd=False) as opened:
                data += opened.read(max_bytes + 1 - len(data))
    except OSError as error:
        raise explain_unreadable(error, path=path) from None
    finally:
        os.close(descriptor)
    check_size(len(data), max_bytes=max_bytes)
    return data


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _LinkFound
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFile("is a pipe, socket or device, not a file")
