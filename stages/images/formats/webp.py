"""WebP: its chunks and their lengths.

Source: RFC 9649, "WebP Image Format"; RFC 6386, "VP8 Data Format".
"""

import struct
from collections.abc import Iterator

from stages.images.formats.exif import read_orientation
from stages.images.formats.header import Header, cut_off, damaged

_CHUNK = struct.Struct("<4sI")
_ANIMATION, _ALPHA = 0x02, 0x10


def read_webp(data: bytes) -> Header:
    """Return what a WebP states; all its chunks must be there in full.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise cut_off(f"of {end:,} bytes it has {len(data):,}")
    size = None
    has_alpha, num_frames, orientation = False, 0, 1
    for kind, start, num_bytes in _walk(data, end):
        if kind == b"VP8X" and num_bytes >= 10:
            has_alpha = bool(data[start] & _ALPHA)
            size = (_read_24(data, start + 7) + 1, _read_24(data, start + 4) + 1)
        elif kind in (b"VP8 ", b"VP8L"):
            height_px, width_px, alpha = _read_picture(data, kind, start, num_bytes)
            size = size or (height_px, width_px)
            has_alpha |= alpha
            num_frames += 1
        elif kind == b"ANMF":
            num_frames += 1
        elif kind == b"EXIF":
            orientation = read_orientation(data[start : start + num_bytes])
    if size is None or not num_frames:
        raise damaged("it holds no picture")
    bytes_per_pixel = 13 if num_frames > 1 else 11 if has_alpha else 8
    return Header(
        "WebP",
        *size,
        bytes_per_pixel,
        has_alpha=has_alpha,
        orientation=orientation,
        num_frames=num_frames,
    )


def _walk(data: bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the length of every chunk."""
    position = 12
    while position + 8 <= end:
        kind, num_bytes = _CHUNK.unpack_from(data, position)
        if position + 8 + num_bytes > end:
            raise cut_off(f"of a part of {num_bytes:,} bytes it has {end - position - 8:,}")
        yield kind, position + 8, num_bytes
        position += 8 + num_bytes + num_bytes % 2


def _read_picture(data: bytes, kind: bytes, start: int, num_bytes: int) -> tuple[int, int, bool]:
    """Return height, width and whether there is alpha, of one lossy or lossless picture."""
    if kind == b"VP8L":
        if num_bytes < 5 or data[start] != 0x2F:
            raise damaged("its picture has no header")
        bits = int.from_bytes(data[start + 1 : start + 5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if num_bytes < 10 or data[start + 3 : start + 6] != b"\x9d\x01\x2a":
        raise damaged("its picture has no header")
    if _read_24(data, start) >> 5 > num_bytes - 10:
        raise cut_off("its first partition is longer than its picture")
    width_px, height_px = struct.unpack_from("<HH", data, start + 6)
    return height_px & 0x3FFF, width_px & 0x3FFF, False


def _read_24(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 3], "little")
