"""The places images come from: a folder, a zip archive, a tar archive.

A source lists its entries as relative paths with forward slashes, in sorted order, and reads the bytes of one
file. Nothing is unpacked to disk, but for a compressed tar: it can only be read from its start, so it becomes
one plain tar in a file without a name, which is gone with the process. A path that ends in a slash is a
folder. Links, pipes and devices are listed as files, so that none goes missing unseen; reading says what they
are.
"""

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, cast

from stages.shared.errors import InputError
from stages.shared.text import printable

# zstd is not here: Python reads it from 3.14 on, and darkroom runs from 3.11.
COMPRESSED_TARS: dict[str, Callable[..., Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}


class Source(Protocol):
    """Something that holds files."""

    def list_entries(self) -> list[str]:
        """Return the path of every file and folder, sorted; folders end in a slash.

        Raises:
            InputError: A folder cannot be listed.
        """
        ...

    def read(self, path: str) -> bytes:
        """Return the bytes of a listed file; may be called from several threads.

        Raises:
            UnreadableFile: The bytes cannot be had; the message says why.
        """
        ...


class UnreadableFile(Exception):
    """One file of a source cannot be read; the others may."""


class FolderSource:
    """A folder on disk.

    Links to files are followed, links to folders are not: DVC does not look behind them, so that a change
    there would go unseen. They are listed as empty folders.
    """

    def __init__(self, root: Path, *, key: str = "") -> None:
        self._root = root
        self._prefix = f"{key}: " if key else ""

    def list_entries(self) -> list[str]:
        entries = []
        for folder, subfolders, files in os.walk(self._root, onerror=self._refuse_folder):
            relative = Path(folder).relative_to(self._root)
            entries += [f"{(relative / name).as_posix()}/" for name in subfolders]
            entries += [(relative / name).as_posix() for name in files]
        return sorted(entries)

    def read(self, path: str) -> bytes:
        file = self._root / path
        try:
            # Opening a pipe that nobody writes to would wait for ever.
            if not stat.S_ISREG(file.stat().st_mode):
                raise UnreadableFile("is a pipe, socket or device, not a file")
            return file.read_bytes()
        except OSError as error:
            raise UnreadableFile(f"cannot be read: {reason_of(error)}") from None

    def _refuse_folder(self, error: OSError) -> None:
        raise InputError(
            f"{self._prefix}{printable(str(error.filename))}: cannot be listed: {reason_of(error)}; "
            "make it readable, or move it out of the source"
        )


class ZipSource:
    """A zip archive, read in place.

    Of several members of one name the last counts, as it would after unpacking.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises a dozen kinds on damaged bytes
            raise InputError(
                f"{place}: is no readable zip archive ({reason_of(error)}); make it anew"
            ) from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            if name := _safe_name(member.filename, place=place):
                self._members[name] = member

    def list_entries(self) -> list[str]:
        return sorted(self._members)

    def read(self, path: str) -> bytes:
        member = self._members[path]
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnreadableFile("is a link inside the archive; make the archive anew with the file itself")
        try:
            return self._archive.read(member)
        except Exception as error:  # as above, and a kind more for each way of compression
            raise UnreadableFile(f"is damaged or encrypted in the archive: {reason_of(error)}") from None


class TarSource:
    """A tar archive, read in place if it is not compressed.

    Of several members of one name the last counts, as it would after unpacking.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        self._path = path
        self._unpacked = _unpack_tar(path, place=place)
        if self._unpacked is not None:
            weakref.finalize(self, self._unpacked.close)
        self._lock = threading.Lock()  # seek and read are two steps
        self._places: dict[str, tuple[int, int] | None] = {}
        for member in _list_tar(path, self._unpacked, place=place):
            if name := _safe_name(f"{member.name}/" if member.isdir() else member.name, place=place):
                plain = member.isreg() and not member.issparse()
                self._places[name] = (member.offset_data, member.size) if plain else None

    def list_entries(self) -> list[str]:
        return sorted(self._places)

    def read(self, path: str) -> bytes:
        place = self._places[path]
        if place is None:
            raise UnreadableFile(
                "is a link, sparse or no file inside the archive; "
                "make the archive anew with tar --dereference --hard-dereference"
            )
        offset, num_bytes = place
        if self._unpacked is None:
            with self._path.open("rb") as file:
                data = _read_at(file, offset, num_bytes)
        else:
            with self._lock:
                data = _read_at(self._unpacked, offset, num_bytes)
        if len(data) < num_bytes:
            raise UnreadableFile(f"is cut off: the archive ends after {len(data)} of its {num_bytes} bytes")
        return data


def _read_at(file: BinaryIO, offset: int, num_bytes: int) -> bytes:
    file.seek(offset)
    return file.read(num_bytes)


def _unpack_tar(path: Path, *, place: str) -> BinaryIO | None:
    """Return what a compressed tar holds, in a file without a name; None for one that is not compressed.

    Raises:
        InputError: The compressed bytes are damaged.
    """
    suffix = next((suffix for suffix in COMPRESSED_TARS if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        return None
    unpacked = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - it is open as long as the source
    try:
        with COMPRESSED_TARS[suffix](path, "rb") as compressed:
            shutil.copyfileobj(compressed, unpacked, 2**20)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        unpacked.close()
        raise _no_tar(error, place=place) from None
    except OSError as error:
        unpacked.close()
        if error.errno is None:  # bz2 says so of damaged bytes; the operating system has a number for all
            raise _no_tar(error, place=place) from None
        raise InputError(
            f"{place}: cannot be unpacked to {tempfile.gettempdir()}: {reason_of(error)}; make "
            "room there, set TMPDIR to another folder, or give an uncompressed .tar"
        ) from None
    unpacked.seek(0)
    return unpacked


def _no_tar(error: Exception, *, place: str) -> InputError:
    return InputError(f"{place}: is no readable tar archive ({reason_of(error)}); make it anew")


def _list_tar(path: Path, unpacked: BinaryIO | None, *, place: str) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar archive up to its end mark.

    tarfile takes any damaged header but the first for the end, and follows a negative size back to where it
    has been; either is refused here.
    """
    try:
        with (
            path.open("rb") if unpacked is None else nullcontext(unpacked) as file,
            tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive,
        ):
            last = -1
            for member in archive:
                if member.size < 0 or member.offset <= last:
                    raise tarfile.ReadError(f"bad header at byte {member.offset}")
                last = member.offset
                yield member
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"bad header or early end at byte {archive.offset}")
    except Exception as error:  # tarfile, too, raises many kinds on damaged bytes
        raise _no_tar(error, place=place) from None


def _safe_name(name: str, *, place: str) -> str:
    """Return a member's name with forward slashes and no `./`, empty for the archive's own top.

    Raises:
        InputError: The name points outside the archive.
    """
    slashed = name.replace("\\", "/")
    parts = PurePosixPath(slashed).parts
    if slashed.startswith("/") or ".." in parts or re.match("[A-Za-z]:", slashed):
        raise InputError(
            f"{place}: holds {printable(name)}, which climbs out of the archive; "
            "make it anew with paths that stay inside"
        )
    return "/".join(parts) + ("/" if parts and slashed.endswith("/") else "")


def reason_of(error: Exception) -> str:
    """Return what a library or the operating system says, on one line."""
    text = error.strerror if isinstance(error, OSError) else None
    return printable(text or str(error) or type(error).__name__)
