"""TIFF and BigTIFF of both byte orders: the first page's tags, and its strips or tiles.

Source: Adobe, "TIFF Revision 6.0"; "The BigTIFF File Format" (libtiff).
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.images.formats.header import Header, Undecodable, cut_off, damaged

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 256, 257, 258, 259
_STRIP_OFFSETS, _CHANNELS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT, _DNG = 338, 339, 50706

_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8", 13: "u4", 18: "u8"}
_UNCOMPRESSED = 1
_UNSIGNED = 1
_MOST_PAGES = 10_000

Values = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are written in one file."""

    order: str
    count: str
    offset: str
    entry_bytes: int

    @property
    def count_bytes(self) -> int:
        return struct.calcsize(self.count)

    @property
    def offset_bytes(self) -> int:
        return struct.calcsize(self.offset)


def read_tiff(data: bytes) -> Header:
    """Return what the first page of a TIFF states; its strips or tiles must lie within the file.

    Raises:
        Undecodable: It is cut off, damaged, or of a kind that is not decoded.
    """
    order = "<" if data.startswith(b"II") else ">"
    try:
        if data[2:4] in (b"+\0", b"\0+"):
            layout = _Layout(order, f"{order}Q", f"{order}Q", 20)
            (start,) = struct.unpack_from(layout.offset, data, 8)
        else:
            layout = _Layout(order, f"{order}H", f"{order}I", 12)
            (start,) = struct.unpack_from(layout.offset, data, 4)
        if data[8:10] == b"CR":
            raise Undecodable("is a camera's raw file; export it as JPEG or TIFF")
        tags, following = _read_page(data, start, layout)
    except (struct.error, OverflowError):
        raise cut_off("its table of contents is not there in full") from None
    _refuse_kind(tags)
    height_px, width_px = _one(tags, _HEIGHT), _one(tags, _WIDTH)
    if not 0 < height_px < 2**31 or not 0 < width_px < 2**31:
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels")
    bits, num_channels = _one(tags, _BITS, 1), _one(tags, _CHANNELS, 1)
    _refuse_missing_pixels(tags, num_bytes=len(data))
    extra = _one(tags, _EXTRA, 0)
    return Header(
        "TIFF",
        height_px,
        width_px,
        24 if bits > 8 and extra else 13,
        bits,
        has_alpha=num_channels == 4 and extra in (1, 2),
        is_premultiplied=bits <= 8 or extra == 1,
        num_frames=_count_pages(data, following, layout),
    )


def _read_page(data: bytes, start: int, layout: _Layout) -> tuple[dict[int, Values], int]:
    """Return the tags of a page that hold whole numbers, and where the next page is (0: nowhere)."""
    (num_tags,) = struct.unpack_from(layout.count, data, start)
    first = start + layout.count_bytes
    if first + num_tags * layout.entry_bytes > len(data):
        raise struct.error
    tags: dict[int, Values] = {}
    for i in range(num_tags):
        place = first + i * layout.entry_bytes
        tag, kind = struct.unpack_from(f"{layout.order}HH", data, place)
        if kind not in _TYPES:
            continue
        (count,) = struct.unpack_from(layout.offset, data, place + 4)
        dtype = np.dtype(layout.order + _TYPES[kind])
        place += 4 + layout.offset_bytes
        if count * dtype.itemsize > layout.offset_bytes:
            (place,) = struct.unpack_from(layout.offset, data, place)
        if place + count * dtype.itemsize <= len(data):  # else the tag is as good as not there
            tags[tag] = np.frombuffer(data, dtype, count, place)
    end = first + num_tags * layout.entry_bytes
    if end + layout.offset_bytes > len(data):
        return tags, 0
    return tags, struct.unpack_from(layout.offset, data, end)[0]


def _one(tags: dict[int, Values], tag: int, default: int | None = None) -> int:
    """Return a tag's first value."""
    values = tags.get(tag)
    if values is None or not len(values):
        if default is None:
            raise damaged(f"its tag {tag} is missing")
        return default
    return int(values[0])


def _refuse_kind(tags: dict[int, Values]) -> None:
    """Refuse what OpenCV cannot decode, or would decode to another picture than is meant."""
    if _DNG in tags or (_one(tags, _SUBFILE, 0) & 1):
        raise Undecodable("is a camera's raw file, or holds a preview only; export it as JPEG or TIFF")
    bits = set(tags[_BITS].tolist()) if _BITS in tags else {1}
    if _one(tags, _SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED or max(bits, default=1) > 16:
        raise Undecodable(
            f"holds {max(bits)}-bit floating point or signed numbers, which say not what is white; "
            "save it with 8 or 16 bits a channel"
        )
    if len(bits) != 1:
        raise Undecodable("has channels of different depths; save it with 8 bits a channel")


def _refuse_missing_pixels(tags: dict[int, Values], *, num_bytes: int) -> None:
    """Refuse a page whose strips or tiles are too few, too large, or outside the file."""
    height_px, width_px = _one(tags, _HEIGHT), _one(tags, _WIDTH)
    bits, num_channels = _one(tags, _BITS, 1), _one(tags, _CHANNELS, 1)
    planes = num_channels if _one(tags, _PLANAR, 1) == 2 else 1
    if _TILE_OFFSETS in tags:
        width, height = _one(tags, _TILE_WIDTH), _one(tags, _TILE_HEIGHT)
        offsets, lengths = tags[_TILE_OFFSETS], tags.get(_TILE_BYTES)
        what = "tile"
    else:
        width, height = width_px, min(height_px, _one(tags, _ROWS_PER_STRIP, height_px))
        if _STRIP_OFFSETS not in tags:
            raise damaged("it does not say where its pixels are")
        offsets, lengths = tags[_STRIP_OFFSETS], tags.get(_STRIP_BYTES)
        what = "strip"
    if not width or not height or width > width_px + 4096 or height > height_px + 4096:
        raise damaged(f"it claims {what}s of {width:,} x {height:,} pixels")
    needed = -(-height_px // height) * -(-width_px // width) * planes
    if len(offsets) < needed or (lengths is not None and len(lengths) < needed):
        raise damaged(f"of {needed:,} {what}s it names {len(offsets):,}")
    ends = offsets[:needed].astype(np.float64)
    if _one(tags, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        row_bytes = (width * bits * (1 if planes > 1 else num_channels) + 7) // 8
        rows = np.full(needed, height)
        if what == "strip":
            rows[needed // planes - 1 :: needed // planes] = height_px - (needed // planes - 1) * height
        ends += rows * row_bytes
    elif lengths is not None:
        ends += lengths[:needed]
    if needed and ends.max() > num_bytes:
        raise cut_off(f"a {what} of its pixels ends at byte {int(ends.max()):,} of {num_bytes:,}")


def _count_pages(data: bytes, start: int, layout: _Layout) -> int:
    """Return how many pages there are; a table that leads astray ends the count."""
    seen = {0}
    while start not in seen and len(seen) <= _MOST_PAGES:
        seen.add(start)
        try:
            (num_tags,) = struct.unpack_from(layout.count, data, start)
            end = start + layout.count_bytes + num_tags * layout.entry_bytes
            (start,) = struct.unpack_from(layout.offset, data, end)
        except (struct.error, OverflowError):
            break
    return len(seen)
