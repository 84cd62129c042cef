"""A zip archive, read in place.

The directory at its end is parsed here: zipfile keeps 700 bytes for each member, and this 27 beside the name.
Layout: PKWARE, APPNOTE.TXT 6.3.10.
"""

import bz2
import lzma
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.images.packed_paths import PackedPaths, sort_members
from stages.images.source import UnreadableFile, reason_of, refuse_size
from stages.images.sources.archive_file import ArchiveFile
from stages.images.sources.member_names import tidy_name
from stages.shared.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES = 2**16
_MAX_ENTRY_BYTES = _ENTRY.size + 3 * 2**16
_PIECE_BYTES = 2**20
_IN_EXTRA = 2**32 - 1
"""Stands where a number has no room; the real one is in the entry's extra field."""

_MEMBER = struct.Struct("<QQQLHB")
_MEMBER_DTYPE = np.dtype(
    [("header", "<u8"), ("packed", "<u8"), ("size", "<u8"), ("crc", "<u4"), ("method", "<u2"), ("odd", "u1")]
)
_SMALL_MEMBER_DTYPE = np.dtype(
    [("header", "<u4"), ("packed", "<u4"), ("size", "<u4"), ("crc", "<u4"), ("method", "<u2"), ("odd", "u1")]
)
"""For archives below 4 GiB: every process that reads has all members."""

_ENCRYPTED, _LINK = 1, 2
_LZMA_MEMORY_BYTES = 2**28


class _Damaged(Exception):
    """The archive is not one; the message says how."""


class ZipSource:
    """A zip archive, read in place.

    Of several members of one name the last counts, as it would after unpacking. The directory alone says
    where members are; what their own headers repeat is not looked at, but their checksum is.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        self._file = ArchiveFile(path, place=place)
        try:
            self._names, self._members = _read_directory(self._file, place=place)
        except _Damaged as error:
            raise InputError(f"{place}: is no readable zip archive ({error}); make it anew") from None

    def list_entries(self) -> Sequence[str]:
        return self._names

    def look_at(self, path: str) -> os.stat_result | None:
        return self._file.look_at()

    def read(self, path: str, *, max_bytes: int) -> bytes:
        header, num_packed, num_bytes, crc, method, odd = self._members[self._names.find(path)].item()
        if odd & _LINK:
            raise UnreadableFile("is a link inside the archive; make the archive anew with the file itself")
        if odd & _ENCRYPTED:
            raise UnreadableFile("is encrypted in the archive; make the archive anew without a password")
        refuse_size(max(num_bytes, num_packed), max_bytes=max_bytes)
        data = _unpack(self._read_packed(header, num_packed, path), method, num_bytes)
        if len(data) != num_bytes:
            found = "more" if len(data) > num_bytes else f"{len(data):,}"
            raise UnreadableFile(f"is damaged in the archive: holds {found} instead of {num_bytes:,} bytes")
        if zlib.crc32(data) != crc:
            raise UnreadableFile("is damaged in the archive: its checksum (CRC-32) is another")
        return data

    def _read_packed(self, header: int, num_packed: int, path: str) -> bytes:
        """Return a member's bytes as they are stored."""
        # Most often one read gets both header and data: name and extra field are short.
        guess = _LOCAL_HEADER.size + len(path) + 64
        data = self._file.read_at(header, guess + num_packed)
        if len(data) < _LOCAL_HEADER.size or not data.startswith(b"PK\3\4"):
            raise UnreadableFile("is damaged in the archive: does not stand where the archive says")
        *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(data)
        start = _LOCAL_HEADER.size + name_length + extra_length
        if len(data) < start + num_packed:
            data, start = self._file.read_at(header + start, num_packed), 0
        if len(data) < start + num_packed:
            raise UnreadableFile("is cut off: the archive ends before it does")
        return data[start : start + num_packed]


def _read_directory(file: ArchiveFile, *, place: str) -> tuple[PackedPaths, npt.NDArray[Any]]:
    """Return the names of all members, sorted, and an array of _MEMBER_DTYPE with a row for each.

    Raises:
        _Damaged: It is no zip archive.
        InputError: A name points outside.
    """
    start, num_bytes, shift = _find_directory(file)
    members = bytearray()

    def names() -> Iterator[str]:
        for raw_name, extra, entry in _walk_directory(file, start, start + num_bytes):
            flags, method, crc, attributes = entry[3], entry[4], entry[7], entry[15]
            if name := tidy_name(_decode_name(raw_name, flags, extra), place=place):
                num_unpacked, num_packed, header = _fill_in_large_numbers(
                    (entry[9], entry[8], entry[16]), extra
                )
                if header + shift + num_packed > file.num_bytes:
                    raise _Damaged("a member lies outside")
                odd = _ENCRYPTED * (flags & 1) | _LINK * stat.S_ISLNK(attributes >> 16)
                members.extend(_MEMBER.pack(header + shift, num_packed, num_unpacked, crc, method, odd))
                yield name

    packed = PackedPaths(names())
    sorted_names, rows = sort_members(packed, np.frombuffer(members, dtype=_MEMBER_DTYPE))
    is_small = all(rows[field].max(initial=0) < 2**32 for field in ("header", "packed", "size"))
    return sorted_names, rows.astype(_SMALL_MEMBER_DTYPE) if is_small else rows


def _find_directory(file: ArchiveFile) -> tuple[int, int, int]:
    """Return where the directory starts, how long it is, and how far everything is shifted.

    What stands before an archive, as the program of one that unpacks itself, shifts it.
    """
    tail_start = max(0, file.num_bytes - _END.size - _MAX_COMMENT_BYTES)
    tail = file.read_at(tail_start, file.num_bytes)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END.size:
        raise _Damaged("it does not end as one")
    _, disk, _, _, _, num_bytes, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    locator = file.read_at(end - _END64_LOCATOR.size, _END64_LOCATOR.size)
    if locator.startswith(b"PK\6\7") and len(locator) == _END64_LOCATOR.size:
        end -= _END64_LOCATOR.size + _END64.size
        end64 = file.read_at(end, _END64.size)
        if not end64.startswith(b"PK\6\6") or len(end64) < _END64.size:
            raise _Damaged("its zip64 end is not where it should be")
        *_, disk, _, _, _, num_bytes, start = _END64.unpack(end64)
    if disk not in (0, 0xFFFF):
        raise _Damaged("it is one part of several")
    shift = end - num_bytes - start
    if shift < 0:
        raise _Damaged("its directory is cut off")
    return start + shift, num_bytes, shift


def _walk_directory(
    file: ArchiveFile, start: int, end: int
) -> Iterator[tuple[bytes, bytes, tuple[Any, ...]]]:
    """Yield name, extra field and the numbers of every entry, with a piece of the directory in memory."""
    piece, place = b"", 0
    while start + place < end:
        if len(piece) < place + _MAX_ENTRY_BYTES and start + len(piece) < end:
            start += place
            piece, place = file.read_at(start, min(end - start, _PIECE_BYTES)), 0
        if not piece.startswith(b"PK\1\2", place) or len(piece) < place + _ENTRY.size:
            raise _Damaged("its directory is damaged")
        entry = _ENTRY.unpack_from(piece, place)
        name_start = place + _ENTRY.size
        name_end = name_start + entry[10]
        extra_end = name_end + entry[11]
        yield piece[name_start:name_end], piece[name_end:extra_end], entry
        place = extra_end + entry[12]
    if start + place > end:
        raise _Damaged("its directory is cut off")


def _fill_in_large_numbers(numbers: tuple[int, int, int], extra: bytes) -> tuple[int, ...]:
    """Return unpacked size, packed size and place of a member; zip64 holds those above 4 GiB elsewhere."""
    if _IN_EXTRA not in numbers:
        return numbers
    field = _find_extra(extra, 1)
    waiting = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
    try:
        return tuple(next(waiting) if number == _IN_EXTRA else number for number in numbers)
    except (StopIteration, RuntimeError):
        raise _Damaged("a zip64 field is cut off") from None


def _decode_name(name: bytes, flags: int, extra: bytes) -> str:
    """Return a member's name.

    Without a mark it should be code page 437, but macOS and many tools write UTF-8 without one, and text of
    code page 437 is hardly ever UTF-8 by accident. Some tools add the name as UTF-8 in an extra field.
    """
    name = name.partition(b"\0")[0]
    if name.isascii() or flags & 0x800:
        return name.decode("utf-8", "surrogateescape")
    unicode_path = _find_extra(extra, 0x7075)
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
        UnreadableFile: They are damaged, or compressed in a way that is not known.
    """
    if method == 0:
        return data
    if method not in _METHODS:
        name = {1: "shrunk", 6: "imploded", 9: "deflate64"}.get(method, f"method {method}")
        raise UnreadableFile(f"is compressed in a way that is not supported ({name}); make the archive anew")
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
    8: lambda data, max_length: zlib.decompressobj(-15).decompress(data, max_length),
    12: lambda data, max_length: bz2.BZ2Decompressor().decompress(data, max_length),
    14: _unpack_lzma,
    93: lambda data, max_length: zstd.ZstdDecompressor().decompress(data, max_length),
}
