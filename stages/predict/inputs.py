"""What the command line asks about: files, folders, patterns, archives and lists."""

import glob
import io
import os
import select
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stages.images.decode import DEFAULT_LIMITS
from stages.images.image_names import find_clutter, has_image_suffix
from stages.images.source import FileReader, Source
from stages.images.sources import is_archive, open_archive
from stages.images.sources.folder import FolderSource
from stages.images.work import NotYet
from stages.predict.readers import NamedFiles, Nothing, explain_missing, read_here
from stages.shared.errors import InputError
from stages.shared.text import printable

LIST = "-"
"""The argument that stands for the paths on standard input."""

_READ_BYTES = 2**16
_OF_THIS_PROCESS = ("/dev/", "/proc/")
"""What begins so may be another file in another process, as /dev/stdin is."""


class AskedFile(NamedTuple):
    """A file that may be an image."""

    name: str
    """What it is called in tables and messages."""

    reader: FileReader
    """Files of one folder or archive have the same."""

    path: str
    """What the reader knows it by."""


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
        self._named = NamedFiles()
        self.num_passed_over = 0
        """Files of folders and archives that do not have an image's suffix, so far."""

    @property
    def num_files(self) -> int | None:
        """Return how many files there are as far as is known by now; None if a list may go on for ever."""
        return None if LIST in self._arguments else self._num_files

    def __iter__(self) -> Iterator[AskedFile | NotYet]:
        """Yield the files in the order of the arguments, and NotYet while a list has not gone on."""
        for argument in self._arguments:
            if argument == LIST:
                for path in _split(self._stdin, self._separator):
                    if isinstance(path, NotYet):
                        yield path
                    else:
                        yield from self._open(os.fsdecode(path), may_be_pattern=False)
            else:
                yield from self._open(argument, may_be_pattern=True)

    def _open(self, argument: str, *, may_be_pattern: bool) -> Iterable[AskedFile]:
        path = Path(argument)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            if may_be_pattern and glob.has_magic(argument):
                return self._match(argument)
            return [_missing(argument, explain_missing(error))]
        if stat.S_ISDIR(mode):
            return self._list(argument, FolderSource(path))
        if not is_archive(path) or not stat.S_ISREG(mode):
            if stat.S_ISREG(mode) and not os.path.abspath(argument).startswith(_OF_THIS_PROCESS):  # noqa: PTH100
                return [AskedFile(printable(argument), self._named, argument)]
            reader = read_here(argument, mode, max_bytes=DEFAULT_LIMITS.max_file_bytes)
            return [AskedFile(printable(argument), reader, "")]
        try:
            return self._list(argument, open_archive(path, place=argument))
        except InputError as error:
            return [_missing(argument, str(error).removeprefix(f"{argument}: "))]

    def _match(self, pattern: str) -> Iterator[AskedFile]:
        """Yield the files that a pattern stands for; `**` stands for any number of folders."""
        matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (a pattern may be absolute)
        if "**" in pattern:  # what stands in a folder matches by itself
            matches = [path for path in matches if not Path(path).is_dir()]
        if not matches:
            yield _missing(pattern, "there is no such file, and no file fits it as a pattern")
        self._num_files += max(1, len(matches)) - 1
        for path in matches:
            yield from self._open(path, may_be_pattern=False)

    def _list(self, name: str, source: Source) -> list[AskedFile]:
        """Return the image files of a folder or an archive, in the order of their paths."""
        try:
            entries = source.list_entries()
        except InputError as error:
            return [_missing(name, str(error))]
        files = [entry for entry in entries if not (entry.endswith("/") or find_clutter(entry))]
        images = [file for file in files if has_image_suffix(file)]
        self.num_passed_over += len(files) - len(images)
        self._num_files += max(1, len(images)) - 1
        if not images:
            return [_missing(name, "holds no files with an image's suffix")]
        top = name.rstrip("/") or "/"
        return [AskedFile(printable(os.path.join(top, file)), source, file) for file in images]  # noqa: PTH118


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes | NotYet]:
    """Yield what stands between separators, as soon as it has come in; nothing for two in a row."""
    rest = b""
    while True:
        yield from _await(stream)
        # read1 returns what there is: whoever writes the list may take his time over it.
        data = stream.read1(_READ_BYTES) if hasattr(stream, "read1") else stream.read(_READ_BYTES)
        if not data:
            break
        *whole, rest = (rest + data).split(separator)
        yield from filter(None, whole)
    if rest:
        yield rest


def _await(stream: BinaryIO) -> Iterator[NotYet]:
    """Yield NotYet until reading from a stream would not have to wait."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # it is memory
        return
    while not select.select([descriptor], [], [], 0)[0]:
        yield NotYet(descriptor)


def _missing(name: str, reason: str) -> AskedFile:
    return AskedFile(printable(name), Nothing(reason), "")
