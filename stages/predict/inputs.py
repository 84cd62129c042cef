"""What the command line asks about: files, folders, patterns, archives and lists."""

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from stages.images.decode import DEFAULT_LIMITS, ImageFile
from stages.images.image_names import find_clutter, has_image_suffix
from stages.images.source import Source, UnreadableFile, reason_of, refuse_size
from stages.images.sources import is_archive, open_archive
from stages.images.sources.folder import FolderSource
from stages.shared.errors import InputError
from stages.shared.text import printable

LIST = "-"
"""The argument that stands for the paths on standard input."""

_MAX_FILE_BYTES = DEFAULT_LIMITS.max_file_bytes
_READ_BYTES = 2**16


class Inputs:
    """The image files behind the arguments, looked up one argument at a time, while others are decoded.

    Files named one by one are taken whatever they are called. In folders and archives only those with an
    image's suffix are, and hidden ones are passed over, as prepare-dataset does. An argument behind which
    there is nothing becomes a file whose reading says so: nothing that was asked about goes unanswered.
    """

    def __init__(self, arguments: Sequence[str], *, stdin: BinaryIO, separator: bytes = b"\n") -> None:
        self._arguments = arguments
        self._stdin = stdin
        self._separator = separator
        self._num_files = len(arguments)
        self.num_passed_over = 0
        """Files of folders and archives that do not have an image's suffix, so far."""

    @property
    def num_files(self) -> int | None:
        """Return how many files there are as far as is known by now; None if a list may go on for ever."""
        return None if LIST in self._arguments else self._num_files

    def __iter__(self) -> Iterator[ImageFile]:
        for argument in self._arguments:
            if argument == LIST:
                for path in _split(self._stdin, self._separator):
                    yield from self._open(os.fsdecode(path), may_be_pattern=False)
            else:
                yield from self._open(argument, may_be_pattern=True)

    def _open(self, argument: str, *, may_be_pattern: bool) -> Iterable[ImageFile]:
        path = Path(argument)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            if may_be_pattern and glob.has_magic(argument):
                return self._match(argument)
            return [_unreadable(argument, _why_not(error))]
        if stat.S_ISDIR(mode):
            return self._list(argument, FolderSource(path))
        if not is_archive(path) or not stat.S_ISREG(mode):
            return [ImageFile(printable(argument), partial(_read, path, mode))]
        try:
            return self._list(argument, open_archive(path, place=argument))
        except InputError as error:
            return [_unreadable(argument, str(error).removeprefix(f"{argument}: "))]

    def _match(self, pattern: str) -> Iterator[ImageFile]:
        """Yield the files that a pattern stands for; `**` stands for any number of folders."""
        matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (a pattern may be absolute)
        if "**" in pattern:  # what stands in a folder matches by itself
            matches = [path for path in matches if not Path(path).is_dir()]
        if not matches:
            yield _unreadable(pattern, "there is no such file, and no file fits it as a pattern")
        self._num_files += max(1, len(matches)) - 1
        for path in matches:
            yield from self._open(path, may_be_pattern=False)

    def _list(self, name: str, source: Source) -> list[ImageFile]:
        """Return the image files of a folder or an archive, in the order of their paths."""
        try:
            entries = source.list_entries()
        except InputError as error:
            return [_unreadable(name, str(error))]
        files = [entry for entry in entries if not (entry.endswith("/") or find_clutter(entry))]
        images = [file for file in files if has_image_suffix(file)]
        self.num_passed_over += len(files) - len(images)
        self._num_files += max(1, len(images)) - 1
        if not images:
            return [_unreadable(name, "holds no files with an image's suffix")]
        top = name.rstrip("/") or "/"
        return [
            ImageFile(
                printable(os.path.join(top, file)),  # noqa: PTH118
                partial(source.read, file, max_bytes=_MAX_FILE_BYTES),
            )
            for file in images
        ]


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Yield what stands between separators, as soon as it has come in; nothing for two in a row."""
    rest = b""
    # read1 returns what there is: whoever writes the list may take his time over it.
    while data := stream.read1(_READ_BYTES) if hasattr(stream, "read1") else stream.read(_READ_BYTES):
        *whole, rest = (rest + data).split(separator)
        yield from filter(None, whole)
    if rest:
        yield rest


def _read(path: Path, mode: int) -> bytes:
    """Return a file's bytes; a pipe named on the command line is one that somebody writes to."""
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise UnreadableFile("is a socket or device, not a file")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None
    refuse_size(len(data), max_bytes=_MAX_FILE_BYTES)
    return data


def _unreadable(name: str, reason: str) -> ImageFile:
    def read() -> bytes:
        raise UnreadableFile(reason)

    return ImageFile(printable(name), read)


def _why_not(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file or folder"
    return f"cannot be opened: {reason_of(error)}"
