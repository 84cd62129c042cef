"""PNG and animated PNG: chunks and their checksums.

Source: W3C, Portable Network Graphics (Third Edition).
"""

import struct
import zlib

from stages.images.formats.exif import read_orientation
from stages.images.formats.header import Header, cut_off, damaged

_CHUNK = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_MOST_INFLATED = 1032
"""Bytes that one byte of a zlib stream can become."""

_CHECKED = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"))


def read_png(data: bytes) -> Header:
    """Return what a PNG states; every chunk that pixels are made of must have its checksum.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise cut_off("it has no header") if len(data) < 33 else damaged("it has no header")
    width_px, height_px, bits, color, _, _, _ = _IHDR.unpack_from(data, 16)
    if not (0 < height_px < 2**31 and 0 < width_px < 2**31):
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels")
    position, num_packed, num_frames, orientation = 8, 0, 1, 1
    has_alpha = color in (4, 6)
    while True:
        if len(data) < position + 12:
            raise cut_off("it has no end mark")
        num_bytes, kind = _CHUNK.unpack_from(data, position)
        start, position = position + 8, position + 12 + num_bytes
        if position > len(data):
            raise cut_off(f"of a part of {num_bytes:,} bytes it has {len(data) - start:,}")
        if kind in _CHECKED and zlib.crc32(data[start - 4 : position - 4]) != int.from_bytes(
            data[position - 4 : position], "big"
        ):
            raise damaged(f"the checksum of {kind.decode()} does not fit")
        if kind == b"IDAT":
            num_packed += num_bytes
        elif kind == b"tRNS":
            has_alpha = True
        elif kind == b"acTL":
            num_frames = max(1, int.from_bytes(data[start : start + 4], "big"))
        elif kind == b"eXIf":
            orientation = read_orientation(data[start : position - 4])
        elif kind == b"IEND":
            break
    if color not in _BITS or bits not in _BITS[color]:
        raise damaged(f"it claims {bits} bits of colour type {color}")
    num_channels = _CHANNELS[color]
    if num_packed * _MOST_INFLATED < height_px * ((width_px * num_channels * bits + 7) // 8):
        raise damaged(
            f"it claims {width_px:,} x {height_px:,} pixels, and holds {num_packed:,} bytes of them"
        )
    return Header(
        "PNG",
        height_px,
        width_px,
        (20 if bits == 16 else 11) + 4 * (num_frames > 1) if has_alpha else 6 + 4 * (num_frames > 1),
        bits,
        has_alpha=has_alpha,
        orientation=orientation,
        num_frames=num_frames,
    )
