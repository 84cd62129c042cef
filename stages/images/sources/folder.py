"""A folder on disk."""

import os
import re
import stat
from pathlib import Path

from stages.images.source import UnreadableFile, reason_of, refuse_size
from stages.shared.errors import InputError
from stages.shared.text import printable

_DVC_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


class FolderSource:
    """A folder on disk.

    A link to a file is followed if the file is inside the folder, or in a cache of DVC's, which may leave
    links to its files there (cache.type symlink). Links to folders are listed as empty folders: DVC does not
    look behind them, so that a change there would go unseen.
    """

    def __init__(self, root: Path, *, key: str = "") -> None:
        self._root = os.fspath(root)
        self._prefix = f"{key}: " if key else ""

    def list_entries(self) -> list[str]:
        entries = []
        for folder, subfolders, files in os.walk(self._root, onerror=self._refuse_folder):
            relative = os.path.relpath(folder, self._root)
            prefix = "" if relative == "." else f"{relative}/"
            entries += [f"{prefix}{name}/" for name in subfolders]
            entries += [f"{prefix}{name}" for name in files]
        return sorted(entries)

    def read(self, path: str, *, max_bytes: int) -> bytes:
        file = f"{self._root}/{path}"
        try:
            status = os.lstat(file)
            if stat.S_ISLNK(status.st_mode):
                self._refuse_link_out(file)
                status = os.stat(file)  # noqa: PTH116 - a Path would cost more than the call
        except OSError as error:
            raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None
        return read_regular_file(file, status, max_bytes=max_bytes)

    def look_at(self, path: str) -> os.stat_result | None:
        try:
            status = os.lstat(f"{self._root}/{path}")
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _refuse_link_out(self, file: str) -> None:
        target = os.path.realpath(file, strict=True)
        if not (target.startswith(os.path.realpath(self._root) + os.sep) or _DVC_OBJECT.search(target)):
            raise UnreadableFile(
                f"is a link out of the source, to {printable(target)}; put the file itself there"
            )

    def _refuse_folder(self, error: OSError) -> None:
        raise InputError(
            f"{self._prefix}{printable(str(error.filename))}: cannot be listed: {reason_of(error)}; "
            "make it readable, or move it out of the source"
        )


def read_regular_file(path: str, status: os.stat_result, *, max_bytes: int) -> bytes:
    """Return the bytes of a file of which the system says that.

    Raises:
        UnreadableFile: It is no regular file, too large, or cannot be read.
    """
    # Opening a pipe that nobody writes to would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFile("is a pipe, socket or device, not a file")
    refuse_size(status.st_size, max_bytes=max_bytes)
    try:
        with open(path, "rb", buffering=0) as opened:  # noqa: PTH123 - a Path would cost more than the call
            data = opened.read(status.st_size + 1) or b""
            if len(data) != status.st_size:
                data += opened.read(max_bytes) or b""
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None
    refuse_size(len(data), max_bytes=max_bytes)
    return data
