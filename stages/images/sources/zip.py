"""A zip archive, read in place.

zipfile reads the directory. It keeps a ZipInfo of 700 bytes for each member, so those are dropped as they
come, but for 31 bytes of numbers. Members are read here: a ZipFile in every process would have to read the
whole directory again.
"""

import bz2
import lzma
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.images.sources.archive import (
    ArchiveFile,
    MemberTable,
    check_unpacked_size,
    open_archive_file,
    tidy_name,
)
from stages.images.sources.source import ListedFile, Source, UnreadableFile, check_size, reason_of
from stages.shared.errors import InputError, printable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_USUAL_NAME_BYTES = 256
"""Of name and extra field in a member's own header: most often one read gets both header and data."""

_START_BYTES = 2**12
"""Read beyond what is wanted of a member's start: the tables that deflated data begins with."""

_BLOCK_BYTES = 2**20
"""Enough for the first block of the other methods; bzip2 has the largest, of 900 kB."""

_DEFLATE_RATIO = 1032
"""Deflated data unpacks to no more, whatever is claimed."""

_ROW = struct.Struct("<QQQLHB")
_ROW_DTYPE = np.dtype(
    [("header", "<u8"), ("packed", "<u8"), ("size", "<u8"), ("crc", "<u4"), ("method", "<u2"), ("odd", "u1")]
)
_ENCRYPTED, _LINK = 1, 2
_UTF8_FLAG = 0x800
_AS_BYTES = "latin-1"
"""What zipfile decodes names by that are not marked as UTF-8: every byte as one character."""

_UNICODE_PATH = 0x7075
_LZMA_MEMORY_BYTES = 2**28


class ZipSource(Source):
    """A zip archive.

    The directory alone says where members are; what their own headers repeat is not looked at, but their
    checksum is.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        """Read the directory.

        Raises:
            InputError: It is no zip archive, a name points outside, or it is made to unpack to very much.
        """
        self._file = open_archive_file(path, place=place)
        members = _Members(self._file.num_bytes, place=place)
        try:
            with self._file.open_stream() as stream, _Directory(stream, members):
                pass
        except InputError:
            raise
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
            # ValueError: a name is marked as UTF-8 and is not.
            raise InputError(
                f"{place}: is no readable zip archive ({reason_of(error)}); re-create it"
            ) from None
        rows = np.frombuffer(members.rows, dtype=_ROW_DTYPE)
        _check_apart(rows, members.names, place=place)
        check_unpacked_size(_sum_sizes(rows), num_packed=self._file.num_bytes, place=place)
        self._members = MemberTable(members.names, rows)

    def list_entries(self) -> Sequence[str]:
        return self._members.names

    def locate(self, path: str) -> ListedFile:
        return ZipMember(self._file, *self._members[path])

    def stat(self, path: str) -> os.stat_result:
        return self._file.status


class ZipMember(NamedTuple):
    """Where a member is in its archive."""

    archive: ArchiveFile
    header: int
    """The offset of its own header, behind which its bytes are."""

    num_packed: int
    num_bytes: int
    crc: int
    method: int
    odd: int
    """_ENCRYPTED, _LINK, both or 0."""

    def read_start(self, num_bytes: int) -> bytes:
        self._check_odd()
        is_usual = self.method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        num_packed = min(self.num_packed, num_bytes + _START_BYTES if is_usual else _BLOCK_BYTES)
        return _unpack(self._read_packed(num_packed), self.method, num_bytes)[:num_bytes]

    def _check_odd(self) -> None:
        if self.odd & _LINK:
            raise UnreadableFile("is a link inside the archive; re-create the archive with the file itself")
        if self.odd & _ENCRYPTED:
            raise UnreadableFile("is encrypted in the archive; re-create the archive without a password")

    def read(self, max_bytes: int) -> bytes:
        self._check_odd()
        check_size(max(self.num_bytes, self.num_packed), max_bytes=max_bytes)
        data = _unpack(self._read_packed(self.num_packed), self.method, self.num_bytes)
        if len(data) != self.num_bytes:
            found = "more" if len(data) > self.num_bytes else f"{len(data):,}"
            raise UnreadableFile(
                f"is damaged in the archive: holds {found} instead of {self.num_bytes:,} bytes"
            )
        if zlib.crc32(data) != self.crc:
            raise UnreadableFile("is damaged in the archive: its checksum (CRC-32) is another")
        return data

    def _read_packed(self, num_packed: int) -> bytes:
        """Return the first of the bytes as they are stored."""
        guess = _LOCAL_HEADER.size + _USUAL_NAME_BYTES
        data = self.archive.read_at(self.header, guess + num_packed)
        if len(data) < _LOCAL_HEADER.size or not data.startswith(b"PK\3\4"):
            raise UnreadableFile("is damaged in the archive: does not stand where the archive says")
        *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(data)
        start = _LOCAL_HEADER.size + name_length + extra_length
        if len(data) < start + num_packed:
            data, start = self.archive.read_at(self.header + start, num_packed), 0
        if len(data) < start + num_packed:
            raise UnreadableFile("is cut off: the archive ends before it does")
        return data[start : start + num_packed]


class _Members(list[zipfile.ZipInfo]):
    """Stands for the list in which ZipFile collects members; keeps of each its name and a row of numbers."""

    def __init__(self, archive_bytes: int, *, place: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.rows = bytearray()
        self._archive_bytes = archive_bytes
        self._place = place

    def append(self, info: zipfile.ZipInfo) -> None:
        name = tidy_name(_decode_name(info), place=self._place)
        if not name:
            return
        if info.volume not in (0, 0xFFFF):
            raise zipfile.BadZipFile("it is one part of several")
        if info.header_offset < 0 or info.header_offset + info.compress_size > self._archive_bytes:
            raise zipfile.BadZipFile("a member lies outside")
        odd = _ENCRYPTED * (info.flag_bits & 1) | _LINK * stat.S_ISLNK(info.external_attr >> 16)
        self.rows += _ROW.pack(
            info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type, odd
        )
        self.names.append(name)


class _Nowhere(dict[str, zipfile.ZipInfo]):
    """Stands for the dict in which ZipFile collects members by name; keeps none."""

    def __setitem__(self, name: str, info: zipfile.ZipInfo) -> None:
        pass


class _Directory(zipfile.ZipFile):
    """A ZipFile that hands every member to `members` and forgets it."""

    # ZipFile assigns an empty list and an empty dict to these two, and then fills what it finds there.
    filelist = property(lambda self: self._members, lambda self, value: None)
    NameToInfo = property(lambda self: self._nowhere, lambda self, value: None)

    def __init__(self, stream: Any, members: _Members) -> None:
        self._members = members
        self._nowhere = _Nowhere()
        super().__init__(stream, metadata_encoding=_AS_BYTES)


def _check_apart(rows: npt.NDArray[np.void], names: Sequence[str], *, place: str) -> None:
    """Refuse members that share bytes: a small archive of many that are all one large one."""
    order = np.argsort(rows["header"], kind="stable")
    starts = rows["header"][order]
    ends = starts + rows["packed"][order] + np.uint64(_LOCAL_HEADER.size)
    shared = np.flatnonzero(ends[:-1] > starts[1:])
    if len(shared):
        first, second = (printable(names[row]) for row in order[shared[0] : shared[0] + 2])
        raise InputError(
            f"{place}: holds {first} and {second} in the same bytes, as zip bombs do; re-create it"
        )


def _sum_sizes(rows: npt.NDArray[np.void]) -> float:
    """Return how many bytes members can unpack to, however many they claim."""
    packed = rows["packed"].astype(np.float64)
    sizes = np.minimum(
        rows["size"], np.where(rows["method"] == zipfile.ZIP_DEFLATED, _DEFLATE_RATIO * packed, np.inf)
    )
    return float(np.where(rows["method"] == zipfile.ZIP_STORED, packed, sizes).sum())


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name, with null bytes in it but not behind it.

    Without a mark it should be code page 437, but macOS and many tools write UTF-8 without one, and text of
    code page 437 is hardly ever UTF-8 by accident. Some tools add the name as UTF-8 in an extra field.
    """
    if info.orig_filename.isascii() or info.flag_bits & _UTF8_FLAG:
        return info.orig_filename.rstrip("\0")
    name = info.orig_filename.encode(_AS_BYTES).rstrip(b"\0")
    unicode_path = _find_extra(info.extra, _UNICODE_PATH)
    if len(unicode_path) > 5 and unicode_path[1:5] == struct.pack("<L", zlib.crc32(name)):
        name = unicode_path[5:]
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("cp437")


def _find_extra(extra: bytes, wanted: int) -> bytes:
    """Return what an extra field holds under a number, empty if it holds nothing."""
    place = 0
    while place + 4 <= len(extra):
        number, length = struct.unpack_from("<2H", extra, place)
        if number == wanted:
            return extra[place + 4 : place + 4 + length]
        place += 4 + length
    return b""


def _unpack(data: bytes, method: int, num_bytes: int) -> bytes:
    """Return what compressed bytes hold, at most one byte more than they should.

    Raises:
        UnreadableFile: They are damaged, or compressed in a way that is not supported.
    """
    if method == zipfile.ZIP_STORED:
        return data
    if method not in _METHODS:
        name = {1: "shrunk", 6: "imploded", 9: "deflate64"}.get(method, f"method {method}")
        raise UnreadableFile(
            f"is compressed in a way that is not supported ({name}); re-create the archive with deflate"
        )
    try:
        return _METHODS[method](data, num_bytes + 1)
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError) as error:
        raise UnreadableFile(f"is damaged in the archive: {reason_of(error)}") from None


def _unpack_lzma(data: bytes, max_length: int) -> bytes:
    """Unpack what zip calls LZMA: a header of its own around five bytes of properties, then the stream."""
    length = int.from_bytes(data[2:4], "little")
    header = data[4 : 4 + length] + b"\xff" * 8  # of the older .lzma: properties, and an unknown length
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY_BYTES)
    return unpacker.decompress(header + data[4 + length :], max_length)


_METHODS: dict[int, Callable[[bytes, int], bytes]] = {
    zipfile.ZIP_DEFLATED: lambda data, max_length: zlib.decompressobj(-15).decompress(data, max_length),
    zipfile.ZIP_BZIP2: lambda data, max_length: bz2.BZ2Decompressor().decompress(data, max_length),
    zipfile.ZIP_LZMA: _unpack_lzma,
    93: lambda data, max_length: zstd.ZstdDecompressor().decompress(data, max_length),
}
