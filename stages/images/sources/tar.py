"""A tar archive, read in place if it is not compressed.

Its headers are parsed here: tarfile takes 25 microseconds for each, keeps a kilobyte, takes any damaged
header but the first for the end, and follows a negative size back to where it has been. Layout: POSIX.1-2008,
pax; and the GNU tar manual, "Basic Tar Format".
"""

import bz2
import gzip
import lzma
import os
import re
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.images.packed_paths import PackedPaths, sort_members
from stages.images.source import UnreadableFile, reason_of, refuse_size
from stages.images.sources.archive_file import ArchiveFile, UnpackedFile
from stages.images.sources.member_names import tidy_name
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

_BLOCK = 512
_MAX_HEADER_BYTES = 2**20
"""Of a long name or a table of pax records; Linux allows 4 KiB for a path."""

_MEMBER = struct.Struct("<QQB")
_MEMBER_DTYPE = np.dtype([("start", "<u8"), ("size", "<u8"), ("is_plain", "u1")])


class _Damaged(Exception):
    """The archive is not one; the message says how."""


class _Header(NamedTuple):
    """One header of 512 bytes."""

    name: bytes
    kind: bytes
    target: bytes
    size: int
    is_sparse_extended: bool


class TarSource:
    """A tar archive.

    Of several members of one name the last counts, as it would after unpacking. A hard link, another name of
    an earlier member, is that member. A compressed archive can only be read from its start, so it is unpacked
    to a file without a name.
    """

    def __init__(self, path: Path, *, place: str) -> None:
        suffix = next((suffix for suffix in COMPRESSED_TARS if path.name.lower().endswith(suffix)), None)
        self._file: ArchiveFile | UnpackedFile
        if suffix is None:
            self._file = ArchiveFile(path, place=place)
        else:
            self._file = _unpack_tar(path, COMPRESSED_TARS[suffix], place=place)
        members = bytearray()
        hard_links: dict[str, str] = {}

        def names() -> Iterator[str]:
            for raw_name, start, size, is_plain, target in _walk_tar(self._file):
                if name := tidy_name(raw_name, place=place):
                    members.extend(_MEMBER.pack(start, size, is_plain))
                    hard_links.pop(name, None)
                    if target:
                        hard_links[name] = target.removeprefix("./")
                    yield name

        try:
            packed = PackedPaths(names())
        except _Damaged as error:
            raise _no_tar(str(error), place=place) from None
        self._names, self._members = sort_members(packed, np.frombuffer(members, dtype=_MEMBER_DTYPE))
        for name, target in hard_links.items():
            with suppress(KeyError):
                self._members[self._names.find(name)] = self._members[self._names.find(target)]

    def list_entries(self) -> Sequence[str]:
        return self._names

    def look_at(self, path: str) -> os.stat_result | None:
        return self._file.look_at()

    def read(self, path: str, *, max_bytes: int) -> bytes:
        start, num_bytes, is_plain = self._members[self._names.find(path)].item()
        if not is_plain:
            raise UnreadableFile(
                "is a link, sparse or no file inside the archive; "
                "make the archive anew with tar --dereference"
            )
        refuse_size(num_bytes, max_bytes=max_bytes)
        data = self._file.read_at(start, num_bytes)
        if len(data) < num_bytes:
            raise UnreadableFile(f"is cut off: the archive ends after {len(data)} of its {num_bytes} bytes")
        return data


def _unpack_tar(path: Path, open_compressed: Callable[..., Any], *, place: str) -> UnpackedFile:
    """Return what a compressed tar holds, in a file without a name.

    Raises:
        InputError: The compressed bytes are damaged, or there is no room.
    """
    try:
        with tempfile.TemporaryFile() as unpacked, open_compressed(path, "rb") as compressed:
            shutil.copyfileobj(compressed, unpacked, 2**20)
            unpacked.flush()
            return UnpackedFile(os.dup(unpacked.fileno()))
    except (EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
        raise _no_tar(reason_of(error), place=place) from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so of damaged bytes; the operating system has a number
            raise _no_tar(reason_of(error), place=place) from None
        raise InputError(
            f"{place}: cannot be unpacked to {tempfile.gettempdir()}: {reason_of(error)}; make "
            "room there, set TMPDIR to another folder, or give an uncompressed .tar"
        ) from None


def _no_tar(reason: str, *, place: str) -> InputError:
    return InputError(f"{place}: is no readable tar archive ({reason}); make it anew")


def _walk_tar(file: ArchiveFile | UnpackedFile) -> Iterator[tuple[str, int, int, bool, str]]:
    """Yield name, place and size of each member, whether it is a plain file, and what it is a hard link to.

    Names of folders end in a slash.

    Raises:
        _Damaged: A header is damaged, or the archive ends before its end mark.
    """
    place = 0
    long_name = long_target = b""
    records: dict[bytes, bytes] = {}
    for_all: dict[bytes, bytes] = {}
    while (block := file.read_at(place, _BLOCK)) != bytes(_BLOCK):
        header = _read_header(block, place)
        data_start = place + _BLOCK
        if header.kind in (b"L", b"K", b"x", b"X", b"g"):
            if header.size > _MAX_HEADER_BYTES:
                raise _Damaged(f"bad header at byte {place}")
            data = file.read_at(data_start, header.size)
            if len(data) < header.size:
                raise _Damaged("it is cut off")
            if header.kind == b"L":
                long_name = data.partition(b"\0")[0]
            elif header.kind == b"K":
                long_target = data.partition(b"\0")[0]
            else:
                (for_all if header.kind == b"g" else records).update(_read_pax(data, place))
            place = data_start + _round_up(header.size)
            continue
        records = {**for_all, **records}
        size = _decimal(records[b"size"], place) if b"size" in records else header.size
        is_sparse = header.kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in records)
        if header.kind == b"S":
            data_start = _skip_sparse_map(file, data_start, header)
        name = records.get(b"GNU.sparse.name") or records.get(b"path") or long_name or header.name
        name = name.partition(b"\0")[0]
        is_folder = header.kind == b"5" or (header.kind == b"\0" and name.endswith(b"/"))
        text = name.decode("utf-8", "surrogateescape").rstrip("/")
        if is_folder or header.kind in b"123456":  # links and devices: no data, whatever size they state
            size = 0
        place = data_start + _round_up(size)
        if place > file.num_bytes:
            raise _Damaged("it is cut off")
        is_plain = header.kind in b"\x0007" and not is_sparse and not is_folder
        target = records.get(b"linkpath") or long_target or header.target
        link = target.decode("utf-8", "surrogateescape") if header.kind == b"1" else ""
        yield f"{text}/" if is_folder else text, data_start, size, is_plain, link
        long_name, long_target, records = b"", b"", {}


def _read_header(block: bytes, place: int) -> _Header:
    if len(block) < _BLOCK:
        raise _Damaged(f"early end at byte {place}")
    # The sum of all bytes, those of the checksum itself counted as spaces. Most are zero: sum the others.
    unsigned = sum(block.translate(None, b"\0")) - sum(block[148:156]) + 8 * 32
    stated = _number(block[148:156], place)
    if stated != unsigned:
        signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if stated != signed:
            raise _Damaged(f"bad header at byte {place}")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    target = block[157:257].partition(b"\0")[0]
    return _Header(name, block[156:157], target, _number(block[124:136], place), block[482] != 0)


def _number(field: bytes, place: int) -> int:
    """Return a number of a header: octal digits, or, above 8 GiB, binary behind a set bit.

    Raises:
        _Damaged: It is no number, or below zero.
    """
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if digits and not re.fullmatch(b"[0-7]+", digits):
        raise _Damaged(f"bad header at byte {place}")
    return int(digits or b"0", 8)


def _decimal(digits: bytes, place: int) -> int:
    if not re.fullmatch(b"[0-9]{1,18}", digits):
        raise _Damaged(f"bad header at byte {place}")
    return int(digits)


def _read_pax(data: bytes, place: int) -> dict[bytes, bytes]:
    """Return the records of a pax header, each of which is `<length> <key>=<value>` and a newline."""
    records = {}
    start = 0
    while start < len(data) and data[start] != 0:
        length = re.match(b"([0-9]{1,9}) ", data[start : start + 10])
        end = start + int(length[1]) if length else 0
        if length is None or end <= start + len(length[0]) or end > len(data):
            raise _Damaged(f"bad header at byte {place}")
        key, equals, value = data[start + len(length[0]) : end - 1].partition(b"=")
        if not equals:
            raise _Damaged(f"bad header at byte {place}")
        records[key] = value
        start = end
    return records


def _skip_sparse_map(file: ArchiveFile | UnpackedFile, place: int, header: _Header) -> int:
    """Return where the data of an old GNU sparse file starts, behind all blocks of its map."""
    is_extended = header.is_sparse_extended
    while is_extended:
        block = file.read_at(place, _BLOCK)
        if len(block) < _BLOCK:
            raise _Damaged("it is cut off")
        is_extended = block[504] != 0
        place += _BLOCK
    return place


def _round_up(num_bytes: int) -> int:
    """Return the length of the blocks that so many bytes take."""
    return -(-num_bytes // _BLOCK) * _BLOCK
