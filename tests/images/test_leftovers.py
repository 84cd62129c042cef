"""Data that end where the picture does are taken; all others, and wrong checksums, are refused."""

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.images.headers import Undecodable
from stages.images.leftovers import check_bmp_runs, check_lzw, check_packbits, check_zlib


def encode_lzw(values: Sequence[int], min_bits: int, *, is_gif: bool, clears: bool = True) -> bytes:
    """Return LZW codes as GIF89a and TIFF 6.0 describe them, one by one; a full table may stay."""
    clear = 1 << min_bits
    bits: list[int] = []

    def put(code: int, width: int) -> None:
        digits = [code >> i & 1 for i in range(width)]
        bits.extend(digits if is_gif else digits[::-1])

    table: dict[tuple[int, ...], int] = {}
    width, early = min_bits + 1, 0 if is_gif else 1
    put(clear, width)
    string: tuple[int, ...] = ()
    next_code = clear + 2
    for value in values:
        longer = (*string, value)
        if len(longer) == 1 or longer in table:
            string = longer
            continue
        put(table[string] if len(string) > 1 else string[0], width)
        string = (value,)
        if next_code < 4096 - early:
            table[longer] = next_code
            next_code += 1
            width = min(12, (next_code - 1 + early).bit_length())
        elif clears:
            put(clear, width)
            table, next_code, width = {}, clear + 2, min_bits + 1
    put(table[string] if len(string) > 1 else string[0], width)
    # The decoder's table is one string behind; the last code completes it.
    put(clear + 1, min(12, (min(next_code, 4095) + early).bit_length()))
    bits += [0] * (-len(bits) % 8)
    return np.packbits(bits, bitorder="little" if is_gif else "big").tobytes()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(2, 8), st.integers(20, 9000), st.booleans(), st.booleans())
def test_lzw(seed: int, min_bits: int, count: int, clears: bool, is_noise: bool) -> None:
    """Of GIFs of any number of bits, of noise and of long strings, and tables that stay full."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**min_bits if is_noise else 2, count).tolist()
    data = encode_lzw(values, min_bits, is_gif=True, clears=clears)
    check_lzw(data, count, count, min_bits=min_bits, is_gif=True)
    for wrong in (count - 1, count + 1):
        with pytest.raises(Undecodable):
            check_lzw(data, wrong, wrong, min_bits=min_bits, is_gif=True)


def test_lzw_of_one_bit() -> None:
    """The dot of one pixel that many web servers send has codes of two bits: clear, 0, end."""
    check_lzw(b"\x32", 1, 1, min_bits=1, is_gif=True)


def test_lzw_that_ends_early() -> None:
    """Whatever is missing, it is damage."""
    data = encode_lzw(range(256), 8, is_gif=True)
    for num_bytes in range(len(data) - 2):
        with pytest.raises(Undecodable):
            check_lzw(data[:num_bytes], 256, 256, is_gif=True)


def test_lzw_of_tiff() -> None:
    """Codes start in the highest bit and widen one code early; a last strip may have all rows."""
    values = np.random.default_rng(0).integers(0, 256, 20_000).tolist()
    data = encode_lzw(values, 8, is_gif=False)
    check_lzw(data, 20_000, 20_000)
    check_lzw(data, 15_000, 20_000)
    with pytest.raises(Undecodable, match=r"^is damaged: its pixels end before or behind their data"):
        check_lzw(data, 15_000, 15_000)


def test_lzw_code_of_no_string() -> None:
    """A code for a string that the table does not have yet is damage."""
    with pytest.raises(Undecodable, match="LZW code for a string that is not there"):
        check_lzw(np.packbits([*map(int, f"{256:09b}{65:09b}{300:09b}{257:09b}")]).tobytes(), 9, 9)


@pytest.mark.parametrize("min_bits", [2, 8])
def test_lzw_of_nothing_but_clear_codes(min_bits: int) -> None:
    """20 MB of them are not followed."""
    data = (b"\x80\x40\x20\x10\x08\x04\x02\x01\0" if min_bits == 8 else b"\x24\x49\x92") * 2_000_000
    with pytest.raises(Undecodable):
        check_lzw(data, 9, 9, min_bits=min_bits, is_gif=min_bits == 2)


def test_packbits() -> None:
    """Runs and literals end with the strip; a code that says nothing, and padding, change nothing."""
    runs = b"\x02abc\x80\xfed"  # three bytes, nothing, three times d
    check_packbits(runs, 6, 6)
    check_packbits(runs + b"\0", 6, 6)
    check_packbits(runs, 3, 6)
    for wrong in (5, 7):
        with pytest.raises(Undecodable):
            check_packbits(runs, wrong, wrong)
    with pytest.raises(Undecodable):
        check_packbits(runs + runs, 6, 6)


def test_zlib() -> None:
    """The checksum counts, and so do the bytes; a bomb is not unpacked."""
    data = zlib.compress(bytes(100))
    check_zlib(data, 100, 100)
    check_zlib(data, 50, 100)
    for wrong in (data[:-1], data[:-1] + b"\x99", zlib.compress(bytes(10**8))):
        with pytest.raises(Undecodable):
            check_zlib(wrong, 100, 100)


def test_runs_of_a_bmp() -> None:
    """They reach the last row, of RLE4 too, and may jump, but not over nearly all pixels."""
    rows = b"\x04\1\0\0" * 3
    check_bmp_runs(rows + b"\4\1\0\1", width_px=4, height_px=4, is_half_bytes=False)
    check_bmp_runs(rows + b"\0\4\x11\x11\0\1", width_px=4, height_px=4, is_half_bytes=True)
    check_bmp_runs(rows + b"\0\2\1\1\1\1\0\1", width_px=4, height_px=5, is_half_bytes=False)
    with pytest.raises(Undecodable, match="of 6 rows it has 3"):
        check_bmp_runs(rows + b"\0\1", width_px=4, height_px=6, is_half_bytes=False)
    with pytest.raises(Undecodable, match="of 1,024 pixels it has 4"):
        check_bmp_runs(b"\4\1\0\2\0\xff\0\1", width_px=4, height_px=256, is_half_bytes=False)
