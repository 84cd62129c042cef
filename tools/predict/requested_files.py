"""The image files behind the command line: files, folders, patterns, archives and lists."""

import glob
import io
import os
import select
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stages.images.decode import DEFAULT_LIMITS
from stages.images.image_names import find_clutter, find_images
from stages.images.sources import FileRef, Source, UnreadableFile, is_archive, open_archive, reason_of
from stages.images.sources.folder import FolderFile, FolderSource, open_regular_file, read_and_close
from stages.images.sources.source import check_size
from stages.shared.errors import InputError, printable

LIST = "-"
"""The argument that stands for the paths on standard input."""

_READ_BYTES = 2**16
_MAX_NAMED = 5
_OF_THIS_PROCESS = ("/dev/", "/proc/")
"""A path that begins so may be another file in another process, as /dev/stdin is."""


class InputFile(NamedTuple):
    """A file that may be an image."""

    name: str
    """What it is called in tables and messages."""

    ref: FileRef
    """Where it is."""


class NamedFile(NamedTuple):
    """A file anywhere, named by itself."""

    path: str

    def read(self, max_bytes: int) -> bytes:
        try:
            descriptor = open_regular_file(self.path, follows_links=True)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise UnreadableFile(_explain_missing(error)) from None
        return read_and_close(descriptor, max_bytes=max_bytes, path=self.path)


class Contents(NamedTuple):
    """A file whose bytes are here already."""

    data: bytes

    def read(self, max_bytes: int) -> bytes:
        check_size(len(self.data), max_bytes=max_bytes)
        return self.data


class Missing(NamedTuple):
    """Stands for a file that there is not."""

    reason: str

    def read(self, max_bytes: int) -> bytes:
        raise UnreadableFile(self.reason)


class Inputs:
    """The image files behind the arguments, looked up one argument at a time, while others are decoded.

    Files named one by one are taken whatever they are called. In folders and archives only those with an
    image's suffix are, and hidden ones are passed over, as prepare-dataset does. An argument behind which
    there is nothing becomes a file whose reading says so: every argument has its line.

    A pattern takes each file once, however many links to folders lead to it, and `**` goes through none.
    """

    def __init__(self, arguments: Sequence[str], *, stdin: BinaryIO, separator: bytes = b"\n") -> None:
        self._arguments = arguments
        self._stdin = stdin
        self._separator = separator
        self._num_files = len(arguments)
        self.num_skipped = 0
        """Files of folders and archives that are no images, so far."""

        self.num_missing = 0
        """Arguments and paths of lists behind which there is nothing, so far."""

        self.missing: list[str] = []
        """The first of them, each with the reason."""

    @property
    def num_files(self) -> int | None:
        """Return how many files there are as far as is known by now; None if a list may go on for ever."""
        return None if LIST in self._arguments else self._num_files

    def __iter__(self) -> Iterator[InputFile | None]:
        """Yield the files in the order of the arguments, and None while a list has not gone on."""
        for argument in self._arguments:
            if argument == LIST:
                for path in _split(self._stdin, self._separator):
                    if path is None:
                        yield None
                    else:
                        yield from self._open(os.fsdecode(path))
            else:
                yield from self._open(argument, is_typed=True)

    def _open(self, argument: str, *, is_typed: bool = False) -> Iterable[InputFile]:
        """Return the files behind an argument; what the user typed may be a pattern, or standard input."""
        path = Path(argument)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            if is_typed and glob.has_magic(argument):
                return self._match(argument)
            return [self._miss(argument, _explain_missing(error))]
        if stat.S_ISDIR(mode):
            return self._list(argument, FolderSource(path, place=argument))
        if not is_archive(path) or not stat.S_ISREG(mode):
            is_here = os.path.abspath(argument).startswith(_OF_THIS_PROCESS)  # noqa: PTH100
            ref = _read_here(argument, mode, may_be_pipe=is_typed) if is_here else NamedFile(argument)
            return [InputFile(printable(argument), ref)]
        try:
            return self._list(argument, open_archive(path, place=argument))
        except InputError as error:
            return [self._miss(argument, str(error).removeprefix(f"{argument}: "))]

    def _match(self, pattern: str) -> Iterator[InputFile]:
        """Yield the files that a pattern stands for; `**` stands for any number of folders."""
        matches = set(_expand(pattern))
        if "**" in pattern:  # what stands in a folder matches by itself
            matches = {path for path in matches if not Path(path).is_dir()}
        if not matches:
            yield self._miss(pattern, "there is no such file, and no file fits it as a pattern")
        self._num_files += max(1, len(matches)) - 1
        resolve = lru_cache(maxsize=None)(os.path.realpath)
        found: set[str] = set()

        def order(path: str) -> tuple[bool, str]:
            """Of several ways to a file one without links to folders comes first."""
            absolute = os.path.abspath(path)  # noqa: PTH100
            folder = absolute if Path(path).is_dir() else os.path.dirname(absolute)  # noqa: PTH120
            return resolve(folder) != folder, path

        def is_new(path: str) -> bool:
            folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
            place = f"{resolve(folder)}/{name}"
            is_known = place in found
            found.add(place)
            self._num_files -= is_known
            return not is_known

        for path in sorted(matches, key=order):
            if is_new(path):
                for file in self._open(path):
                    ref = file.ref
                    if not isinstance(ref, FolderFile) or is_new(f"{ref.root}/{ref.path}"):
                        yield file

    def _list(self, name: str, source: Source) -> Iterable[InputFile]:
        """Return the image files of a folder or an archive, in the order of their paths."""
        try:
            entries = source.list_entries()
            files = [entry for entry in entries if not (entry.endswith("/") or find_clutter(entry))]
            images = list(compress(files, find_images(files, source).is_image))
        except InputError as error:
            return [self._miss(name, str(error))]
        self.num_skipped += len(files) - len(images)
        self._num_files += max(1, len(images)) - 1
        if not images:
            return [self._miss(name, "holds no images")]
        top = name.rstrip("/") or "/"
        return (
            InputFile(printable(os.path.join(top, file)), source.locate(file))  # noqa: PTH118
            for file in images
        )

    def _miss(self, name: str, reason: str) -> InputFile:
        self.num_missing += 1
        if self.num_missing <= _MAX_NAMED:
            self.missing.append(f"{printable(name)}: {reason}")
        return InputFile(printable(name), Missing(reason))


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes | None]:
    """Yield what stands between separators, as soon as it has come in; nothing for two in a row."""
    rest = b""
    while True:
        yield from _await(stream)
        # read1 returns what there is: whoever writes the list may take their time.
        data = stream.read1(_READ_BYTES) if hasattr(stream, "read1") else stream.read(_READ_BYTES)
        if not data:
            break
        *whole, rest = (rest + data).split(separator)
        yield from filter(None, whole)
    if rest:
        yield rest


def _await(stream: BinaryIO) -> Iterator[None]:
    """Yield None until reading from a stream would not have to wait."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # it is memory
        return
    while not select.select([descriptor], [], [], 0)[0]:
        yield None


def _expand(pattern: str) -> Iterator[str]:
    """Yield what a pattern stands for, some of it more than once.

    As glob.glob does, but `**` goes through no links to folders: a link to a folder above itself would lead
    around forty times, and two of them for ever.
    """
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 (a pattern may be absolute)
        return
    start = parts.index("**")
    above = "/".join(parts[:start]) or ("/" if pattern.startswith("/") else "")
    rest = "/".join(parts[start + 1 :]) or "*"
    for top in glob.iglob(above) if above else ("",):  # noqa: PTH207
        for folder, subfolders, _ in os.walk(top or "."):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            inside = f"{folder.rstrip('/')}/" if top else f"{folder}/".removeprefix("./")
            yield from _expand(glob.escape(inside) + rest)


def _read_here(path: str, mode: int, *, may_be_pipe: bool) -> FileRef:
    """Read what only this process can: what a shell pipes to it, or a file that it was started with."""
    if not (stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and may_be_pipe)):
        return Missing("is a pipe, socket or device, not a file")
    try:
        # Without waiting for somebody to write: a shell's pipe has its writer already.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            os.set_blocking(file.fileno(), True)
            return Contents(file.read(DEFAULT_LIMITS.max_file_bytes + 1))
    except OSError as error:
        return Missing(f"cannot be read: {reason_of(error)}")


def _explain_missing(error: Exception) -> str:
    """Return why a path cannot be looked up."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file or folder"
    return f"cannot be opened: {reason_of(error)}"
