"""A folder on disk."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stages.images.sources.source import ListedFile, Source, UnreadableFile, check_size, reason_of
from stages.shared.errors import InputError, printable
from stages.shared.paths import Walk

_DVC_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


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
        return read_regular_file(*self._find(), max_bytes=max_bytes)

    def read_start(self, num_bytes: int) -> bytes:
        file, status = self._find()
        check_regular(status)
        try:
            with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - a Path would cost more than the call
                return opened.read(num_bytes) or b""
        except OSError as error:
            raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None

    def _find(self) -> tuple[str, os.stat_result]:
        """Return the file's path, and what the file system says of it."""
        file = f"{self.root}/{self.path}"
        try:
            status = os.lstat(file)
            if stat.S_ISLNK(status.st_mode):
                self._check_link(file)
                status = os.stat(file)  # noqa: PTH116 - a Path would cost more than the call
        except OSError as error:
            raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None
        return file, status

    def _check_link(self, file: str) -> None:
        """Raise UnreadableFile for a link out of the folder."""
        target = os.path.realpath(file, strict=True)
        if not (target.startswith(os.path.realpath(self.root) + os.sep) or _DVC_OBJECT.search(target)):
            raise UnreadableFile(
                f"is a link out of the source, to {printable(target)}; put the file itself there"
            )


def read_regular_file(path: str, status: os.stat_result, *, max_bytes: int) -> bytes:
    """Return the bytes of the file of which the file system says `status`.

    Raises:
        UnreadableFile: It is no regular file, too large, or cannot be read.
    """
    check_regular(status)
    check_size(status.st_size, max_bytes=max_bytes)
    try:
        with open(path, "rb", buffering=0) as opened:  # noqa: PTH123 - a Path would cost more than the call
            data = opened.read(status.st_size + 1) or b""
            if len(data) != status.st_size:
                data += opened.read(max_bytes) or b""
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None
    check_size(len(data), max_bytes=max_bytes)
    return data


def check_regular(status: os.stat_result) -> None:
    """Raise UnreadableFile for what is no regular file: opening a pipe without a writer waits for ever."""
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFile("is a pipe, socket or device, not a file")
