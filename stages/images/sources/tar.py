"""A tar archive, read in place if it is not compressed.

tarfile reads the headers. By itself it takes a damaged header, or the missing end of an archive that was cut,
for the end of it, follows a negative size back to where it has been, and copies thousands of pax records for
every member: StrictHeader does not.
"""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import struct
import sys
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from stages.images.sources.archive import (
    ArchiveFile,
    MemberTable,
    check_unpacked_size,
    open_archive_file,
    tidy_name,
)
from stages.images.sources.source import ListedFile, Source, UnreadableFile, check_size, reason_of
from stages.shared.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESSED_TARS: dict[str, Callable[..., Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
    ".tar.zst": zstd.open,
}

_ROW = struct.Struct("<QQB")
_ROW_DTYPE = np.dtype([("start", "<u8"), ("size", "<u8"), ("is_plain", "u1")])

_HAS_PROC = Path("/proc/self/fd").is_dir()

_MAX_EXTENDED_BYTES = 2**20
"""Of a long name or a table of pax records; Linux allows 4 KiB for a path."""

_KEPT_RECORDS = {"path", "linkpath", "size", "GNU.sparse.name"}
"""Of the records of a pax header, those that say what is where."""

_COPIED_BYTES = 2**20
_MAX_DIGITS = 20
_TRAILER_BYTES = 2**20
"""Looked through behind the end for another archive; tar fills up to 10 KiB with zeros, tapes need more."""

_DAMAGE = (tarfile.TarError, ValueError, struct.error, IndexError, OverflowError, RecursionError)
"""tarfile passes on what int(), seek() and a list's index say of numbers that make no sense."""

_EXTENDED_TYPES = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}


class TarSource(Source):
    """A tar archive.

    A hard link, another name of an earlier member, is that member. A compressed archive can only be read from
    its start, so it is unpacked to a file without a name.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        """Read all headers.

        Raises:
            InputError: It is no whole tar archive, a name points outside, or there is no room to unpack it.
        """
        suffix = next((suffix for suffix in COMPRESSED_TARS if path.name.lower().endswith(suffix)), None)
        self._is_unpacked = suffix is not None
        if suffix is None:
            self._file = open_archive_file(path, place=place)
        else:
            self._file = _unpack_tar(path, COMPRESSED_TARS[suffix], place=place)
        names: list[str] = []
        rows = bytearray()
        hard_links: dict[str, str] = {}
        try:
            for member in _walk_tar(self._file):
                name = tidy_name(_name_of(member), place=place)
                if not name:
                    continue
                names.append(name)
                is_plain = member.isreg() and not member.issparse()
                rows += _ROW.pack(member.offset_data, member.size, is_plain)
                hard_links.pop(name, None)
                if member.islnk():
                    hard_links[name] = member.linkname.removeprefix("./")
        except InputError:  # a ValueError, too: of a name that points outside
            raise
        except _DAMAGE as error:
            raise _no_tar(reason_of(error), place=place) from None
        self._members = MemberTable(names, np.frombuffer(rows, dtype=_ROW_DTYPE))
        for name, target in hard_links.items():
            with suppress(KeyError):
                self._members.copy_row(target, name)

    def list_entries(self) -> Sequence[str]:
        return self._members.names

    def locate(self, path: str) -> ListedFile:
        return TarMember(self._file, *self._members[path])

    def stat(self, path: str) -> os.stat_result | None:
        return None if self._is_unpacked else self._file.status


class TarMember(NamedTuple):
    """Where a member's bytes are in its archive."""

    archive: ArchiveFile
    start: int
    num_bytes: int
    is_plain: int

    def read_start(self, num_bytes: int) -> bytes:
        self._check_plain()
        return self.archive.read_at(self.start, min(num_bytes, self.num_bytes))

    def _check_plain(self) -> None:
        if not self.is_plain:
            raise UnreadableFile(
                "is a link, sparse or no file inside the archive; "
                "re-create the archive with tar --dereference"
            )

    def read(self, max_bytes: int) -> bytes:
        self._check_plain()
        check_size(self.num_bytes, max_bytes=max_bytes)
        data = self.archive.read_at(self.start, self.num_bytes)
        if len(data) < self.num_bytes:
            raise UnreadableFile(
                f"is cut off: the archive ends after {len(data)} of its {self.num_bytes} bytes"
            )
        return data


class StrictHeader(tarfile.TarInfo):
    """A header that is refused unless it is sound and leads forward."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        is_extended = header.type in _EXTENDED_TYPES
        if header.size < 0 or (is_extended and header.size > _MAX_EXTENDED_BYTES):
            raise tarfile.InvalidHeaderError(f"claims {header.size:,} bytes")  # type: ignore[attr-defined]
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        assert archive.fileobj is not None
        start = archive.fileobj.tell()
        try:
            header = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"bad header at byte {start}: {error}") from None
        if archive.offset <= start:
            raise tarfile.ReadError(f"bad header at byte {start}: it leads back")
        return header

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Apply a pax header to the member behind it, or that of a whole archive to all that follow.

        As tarfile does, but for time: it searches headers in quadratic time (CVE-2024-6232) in older
        releases of Python, and keeps records that nobody here asks for.
        """
        assert archive.fileobj is not None
        kept, is_sparse = _read_records(archive.fileobj.read(self._block(self.size))[: self.size])  # type: ignore[attr-defined]
        if self.type == tarfile.XGLTYPE:
            archive.pax_headers.update(kept)  # type: ignore[attr-defined]
        try:
            member = self.fromtarfile(archive)
        except tarfile.HeaderError as error:
            raise tarfile.SubsequentHeaderError(str(error)) from None  # type: ignore[attr-defined]
        if self.type != tarfile.XGLTYPE:
            member._apply_pax_info(kept, archive.encoding, archive.errors)  # type: ignore[attr-defined]
            if "size" in kept and (member.isreg() or member.type not in tarfile.SUPPORTED_TYPES):
                archive.offset = member.offset_data + member._block(member.size)  # type: ignore[attr-defined]
        if is_sparse:
            member.sparse = b""  # not None; the map itself is for those who unpack
        return member


def _read_records(data: bytes) -> tuple[dict[str, str], bool]:
    """Return the records of a pax header that are kept, and whether it describes a sparse file.

    A record is its own length in bytes, a space, a keyword, an equals sign, a value and a newline.
    """
    kept = {}
    is_sparse = False
    start = 0
    while start < len(data) and data[start]:
        digits, _, _ = data[start : start + _MAX_DIGITS].partition(b" ")
        end = start + int(digits) if digits.isdigit() else 0
        keyword, equals, value = data[start + len(digits) + 1 : end - 1].partition(b"=")
        if not (keyword and equals) or data[end - 1 : end] != b"\n":
            raise tarfile.InvalidHeaderError("a pax record is damaged")  # type: ignore[attr-defined]
        name = keyword.decode("utf-8", "replace")
        is_sparse = is_sparse or name.startswith("GNU.sparse.")
        if name in _KEPT_RECORDS:
            kept[name] = value.decode("utf-8", "surrogateescape")
        start = end
    return kept, is_sparse


def _walk_tar(file: ArchiveFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members, and have the archive forget each."""
    with (
        file.open_stream() as stream,
        tarfile.open(
            fileobj=stream, mode="r:", tarinfo=StrictHeader, encoding="utf-8", errors="surrogateescape"
        ) as archive,
    ):
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            yield member
        _check_end(file.read_at(archive.offset, _TRAILER_BYTES), start=archive.offset)


def _check_end(trailer: bytes, *, start: int) -> None:
    """Refuse what `cat a.tar b.tar` makes: tar and tarfile take the end of the first for that of all."""
    place = (len(trailer) - len(trailer.lstrip(b"\0"))) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    with suppress(tarfile.HeaderError):
        StrictHeader.frombuf(trailer[place : place + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        raise tarfile.ReadError(
            f"another archive follows its end, at byte {start + place}: unpack it with tar --ignore-zeros"
        )


def _name_of(member: tarfile.TarInfo) -> str:
    """Return a member's name; that of a folder ends in a slash."""
    name = member.name.rstrip("/")
    return f"{name}/" if member.isdir() else name


def _unpack_tar(path: Path, open_compressed: Callable[..., Any], *, place: str) -> ArchiveFile:
    """Return what a compressed tar holds, in a file that is gone with this process.

    Raises:
        InputError: The compressed bytes are damaged, unpack to very many, or there is no room.
    """
    try:
        unpacked = _create_unnamed_file()
        num_packed = path.stat().st_size
        room = shutil.disk_usage(tempfile.gettempdir()).free * 9 // 10  # others need some of it
        try:
            with open_compressed(path, "rb") as compressed:
                while data := compressed.read(_COPIED_BYTES):
                    num_bytes = unpacked.tell() + len(data)
                    check_unpacked_size(num_bytes, num_packed=num_packed, place=place)
                    if num_bytes > room:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    unpacked.write(data)
            unpacked.flush()
            name = f"/proc/{os.getpid()}/fd/{unpacked.fileno()}" if _HAS_PROC else unpacked.name
            archive = ArchiveFile(name, place)
        except BaseException:
            unpacked.close()
            raise
    except (EOFError, MemoryError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
        raise _no_tar(reason_of(error), place=place) from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so of damaged bytes; the operating system has a number
            raise _no_tar(reason_of(error), place=place) from None
        raise InputError(
            f"{place}: cannot be unpacked to {tempfile.gettempdir()}: {reason_of(error)}; make "
            "room there, set TMPDIR to another folder, or give an uncompressed .tar"
        ) from None
    weakref.finalize(archive, unpacked.close)
    return archive


def _create_unnamed_file() -> Any:
    """Return a temporary file that other processes can open, too.

    On Linux it has no name, so that nothing can leave it behind, and others open it by its entry in /proc.
    Elsewhere it has one, and a run that is killed leaves it behind.
    """
    return tempfile.TemporaryFile() if _HAS_PROC else tempfile.NamedTemporaryFile()


def _no_tar(reason: str, *, place: str) -> InputError:
    return InputError(f"{place}: is no readable tar archive ({reason}); re-create it")
