"""Damage that shows in what is left over: of run lengths, LZW codes and zlib streams in BMP, GIF and TIFF.

Decoders stop when the picture is full, whatever data are left then. Damage makes strings of other lengths, so
that the picture is full too early or in the middle of one: each check here adds up lengths, without pixels.

Sources: TIFF 6.0, sections 9 (PackBits) and 13 (LZW); GIF89a, appendix F; RFC 1950 (zlib).
"""

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stages.images.headers import damaged

_TABLE = 4096
"""Codes that a table of strings holds."""

_MAX_EMPTY = 100
"""Codes that clear a table which has been cleared just before."""

_PADDING_BITS = 32
"""That may follow the last code where no end code does."""

_END_OF_ROW, _END_OF_RUNS, _MOVE = 0, 1, 2
"""Behind a zero in the run lengths of a BMP."""

_MOST_SKIPPED = 100
"""Pixels of a BMP with run lengths for each that is not skipped."""

_FULL = "its pixels end before or behind their data"


def check_zlib(data: bytes, least: int, most: int) -> None:
    """Refuse a zlib stream that does not match its checksum, or does not hold least or most bytes."""
    stream = zlib.decompressobj()
    try:
        # One byte more than it may hold: a bomb goes no further, and else the checksum is reached.
        num_bytes = len(stream.decompress(data, most + 1))
    except zlib.error as error:
        raise damaged(f"zlib finds its data damaged: {error}") from None
    if not stream.eof or num_bytes not in (least, most):
        raise damaged(_FULL)


def check_packbits(data: bytes, least: int, most: int) -> None:
    """Refuse PackBits data whose runs do not stand for least or most bytes."""
    position = num_bytes = 0
    while num_bytes <= most and position < len(data):
        head = data[position]
        if head < 128:
            position += 2 + head
            num_bytes += 1 + head
        elif head == 128:
            position += 1
        else:
            position += 2
            num_bytes += 257 - head
        if num_bytes in (least, most) and len(data) - position <= _PADDING_BITS // 8:
            return
    raise damaged(_FULL)


def check_bmp_runs(data: bytes, *, width_px: int, height_px: int, is_half_bytes: bool) -> None:
    """Refuse the run lengths of a BMP (RLE8, or RLE4: half bytes) that stop early or skip most of it.

    They may skip pixels, but nobody skips nearly all.
    """
    position = row = column = num_pixels = 0
    while position + 1 < len(data) and row < height_px:
        count, value = data[position : position + 2]
        position += 2
        if count:
            column, num_pixels = column + count, num_pixels + count
        elif value == _END_OF_ROW:
            row, column = row + 1, 0
        elif value == _END_OF_RUNS:
            break
        elif value == _MOVE:
            right, up = data[position : position + 2].ljust(2, b"\0")
            row, column, position = row + up, column + right, position + 2
        else:
            column, num_pixels = column + value, num_pixels + value
            num_bytes = (value + 1) // 2 if is_half_bytes else value
            position += num_bytes + num_bytes % 2
    num_rows = row + (column >= width_px)
    if num_rows < height_px - 1:
        raise damaged(f"of {height_px:,} rows it has {num_rows:,}")
    if _MOST_SKIPPED * num_pixels < width_px * height_px:
        raise damaged(f"of {width_px * height_px:,} pixels it has {num_pixels:,}")


def check_gif_frame(data: bytes, start: int, *, num_pixels: int) -> None:
    """Refuse a GIF's frame that is not full when its codes end.

    Args:
        data: The whole file.
        start: Of the frame's data, behind the byte that says how many bits a pixel has.
        num_pixels: Of the frame.
    """
    blocks, position = [], start
    while position < len(data) and (length := data[position]):
        blocks.append(data[position + 1 : position + 1 + length])
        position += 1 + length
    check_lzw(b"".join(blocks), num_pixels, num_pixels, min_bits=data[start - 1], is_gif=True)


def check_lzw(data: bytes, least: int, most: int, *, min_bits: int = 8, is_gif: bool = False) -> None:
    """Refuse LZW codes whose strings do not end with the picture.

    Args:
        data: Packed codes.
        least: How many values it may hold.
        most: The other number that it may hold, of a last strip that has all rows; or the same.
        min_bits: Of a value; the code behind the last value clears the table, the next ends the data.
        is_gif: Whether codes start in the lowest bit. Those of a TIFF start in the highest and widen early.
    """
    num_bits, clear = 8 * len(data), 1 << min_bits
    position = num_values = 0
    num_empty = 0
    known = np.zeros(0, dtype=np.int64)
    while num_empty <= _MAX_EMPTY and position + min_bits < num_bits and num_values < most:
        codes, ends = _read_codes(data, position, min_bits, is_gif=is_gif, is_full=len(known) > 0)
        if not len(codes):
            break
        is_marked = bool(codes[-1] in (clear, clear + 1))
        values = codes[: len(codes) - is_marked]
        lengths = known[values] if len(known) else _string_lengths(values, clear)
        sums = num_values + np.cumsum(lengths)
        for goal in (least, most):
            last = int(np.searchsorted(sums, goal))
            if last < len(sums) and sums[last] == goal:
                # Behind its last code comes one that ends the data or clears the table, or else padding.
                is_end = num_bits - position - ends[last] < _PADDING_BITS
                if last == len(sums) - 1 if is_marked else is_end:
                    return
        position += int(ends[-1])
        if len(sums):
            num_values = int(sums[-1])
        else:
            num_empty += 1
        if is_marked:
            if codes[-1] != clear:
                break
            known = known[:0]
        elif len(codes) < _TABLE:
            break
        elif not len(known):  # a full table that is not cleared, as in some GIFs
            known = np.concatenate([np.ones(clear + 2, dtype=np.int64), lengths + 1])[:_TABLE]
    raise damaged(_FULL)


def _read_codes(
    data: bytes, position: int, min_bits: int, *, is_gif: bool, is_full: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return as many codes as a table holds, or up to one that clears it or ends the data.

    Args:
        data: As in check_lzw, and so min_bits and is_gif.
        position: The bit at which the first starts.
        min_bits: Of a value.
        is_gif: Whether codes start in the lowest bit.
        is_full: Whether the table is full; else it is empty.

    Returns:
        The codes, and how many bits behind the position each ends.
    """
    start, offset, clear = position >> 3, position & 7, 1 << min_bits
    window = data[start : start + 2 * _TABLE]
    ends, places, shifts, masks = _code_places(min_bits, offset, is_gif=is_gif, is_full=is_full)
    count = int(np.searchsorted(ends, 8 * len(window) - offset, side="right"))
    # A code has at most 12 bits, so that it lies within three bytes.
    padded = np.frombuffer(window + bytes(2), dtype=np.uint8).astype(np.int32)
    first, second, third = padded[:-2], padded[1:-1], padded[2:]
    words = first | second << 8 | third << 16 if is_gif else first << 16 | second << 8 | third
    codes = (words[places[:count]] >> shifts[:count]) & masks[:count]
    marks = np.flatnonzero((codes ^ clear) <= 1)
    if len(marks):
        count = int(marks[0]) + 1
    return codes[:count], ends[:count]


@lru_cache(maxsize=64)
def _code_places(
    min_bits: int, offset: int, *, is_gif: bool, is_full: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return where each code ends (without offset), its first byte, its shift there, and its mask."""
    highest = (1 << min_bits) + 2 + np.maximum(np.arange(_TABLE) - 1, 0) + (0 if is_gif else 1)
    widths = np.minimum(np.frexp(highest)[1].astype(np.int64), 12)
    widths[:2] = min_bits + 1  # no string to name yet; of one bit, the first would need three
    if is_full:
        widths[:] = 12
    ends = np.cumsum(widths)
    starts = offset + ends - widths
    shifts = starts & 7 if is_gif else 24 - (starts & 7) - widths
    return ends, starts >> 3, shifts.astype(np.int32), ((1 << widths) - 1).astype(np.int32)


def _string_lengths(codes: npt.NDArray[np.int32], clear: int) -> npt.NDArray[np.int64]:
    """Return how many values each code stands for: one, or one more than the code that its string extends."""
    # The table's string i is that of code i and one more value. Code 0 here stands for nothing.
    extended = np.zeros(len(codes) + 1, dtype=np.int64)
    np.maximum(codes - (clear + 1), 0, out=extended[1:])
    if np.any(extended > np.arange(len(extended)) - (extended > 0)):
        raise damaged("it has an LZW code for a string that is not there")
    lengths = np.ones(len(extended), dtype=np.int64)
    lengths[0] = 0
    # Each round doubles how far back a chain is followed.
    while extended.any():
        lengths += lengths[extended]
        extended = extended[extended]
    return lengths[1:]
