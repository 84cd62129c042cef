"""TIFF: the damage in strips and tiles that libtiff, which decodes them for Pillow, does not report to it.

What libtiff does report goes to its error handler and not to Pillow: nothing else tells of bad codes in fax
data (groups 3 and 4). Each message is looked at as it comes, so that no number of harmless ones (of private
tags, say) hides another.

Sources: TIFF 6.0; libtiff's TIFFSetErrorHandler.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import ImageFile, TiffImagePlugin, _imaging

from schemas.shared.manifest import Depth16
from stages.images.headers import damaged, explain_errors
from stages.images.jpeg import decode_jpeg, read_jpeg_header
from stages.images.leftovers import check_lzw, check_packbits, check_zlib
from stages.images.resize import Pixels
from stages.images.to_rgb import render_image
from stages.shared.errors import printable

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _CHANNELS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _JPEG_TABLES = 322, 323, 324, 325, 347
"""Tags."""

_AS_LZW, _AS_JPEG, _AS_DEFLATE, _AS_PACKBITS, _AS_OLD_DEFLATE = 5, 7, 8, 32773, 32946
_CHECKS = {
    _AS_LZW: check_lzw,
    _AS_DEFLATE: check_zlib,
    _AS_OLD_DEFLATE: check_zlib,
    _AS_PACKBITS: check_packbits,
}
"""By compression."""

_YCBCR = 6
"""Of _PHOTOMETRIC: a row may have fewer bytes than its pixels have."""

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Bytes whose lowest bit comes first."""


def decode_tiff(
    image: ImageFile.ImageFile, data: bytes, *, gray: bool, bits: int, depth16: Depth16
) -> Pixels:
    """Return a TIFF's pixels: (height, width, 3) in RGB order, or (height, width) for gray.

    Args:
        image: As Pillow has opened it; its header has been checked. It is closed.
        data: The whole file.
        gray: Whether one channel is wanted.
        bits: Of a channel.
        depth16: What becomes of more than 8 bits, if it is gray.

    Raises:
        Undecodable: It is damaged.
        MemoryError: There is not enough memory.
    """
    with explain_errors("TIFF"):
        _check_parts(image, data)
        _reported.message = ""
        pixels = render_image(image, gray=gray, bits=bits, depth16=depth16)
    if _reported.message:
        raise damaged(f"libtiff finds its data damaged: {_reported.message}")
    return pixels


def _check_parts(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse a TIFF with a damaged strip or tile of which libtiff says nothing, or at most a warning."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags: Any = image.tag_v2
    compression = tags.get(_COMPRESSION, 1)
    if compression == _AS_JPEG:
        tables = tags.get(_JPEG_TABLES, b"")[:-2]  # without its end marker
        for part, _, _ in _read_parts(tags, data):
            file = tables + part[2:] if tables else part
            decode_jpeg(file, read_jpeg_header(file), gray=True, reduction=8)
    elif compression in _CHECKS and tags.get(_PHOTOMETRIC) != _YCBCR:
        is_mirrored = tags.get(_FILL_ORDER, 1) == 2
        for part, least, most in _read_parts(tags, data):
            if compression == _AS_LZW and part[:1] == b"\0" and part[1] & 1:
                continue  # of the time before TIFF 6.0: codes start in the lowest bit
            _CHECKS[compression](part.translate(_MIRRORED) if is_mirrored else part, least, most)


def _read_parts(tags: Any, data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each strip or tile: its bytes, and how many it holds at least and at most once it is unpacked."""
    width, height, bits = tags[_WIDTH], tags[_HEIGHT], tags.get(_BITS, (1,))
    is_apart, is_tiled = tags.get(_PLANAR, 1) == 2, _TILE_WIDTH in tags
    if is_tiled:
        columns, rows = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
    else:
        columns, rows = width, min(height, tags.get(_ROWS_PER_STRIP, height))
    offsets = tags.get(_TILE_OFFSETS) or tags[_STRIP_OFFSETS]  # some name their tiles as strips
    num_bytes = tags.get(_TILE_BYTES) or tags.get(_STRIP_BYTES, ())
    row_bytes = -(-columns * bits[0] * (1 if is_apart else tags.get(_CHANNELS, 1)) // 8)
    down = -(-height // rows)
    # As many as libtiff reads: a file may name one part a million times.
    num_parts = down * -(-width // columns) * (tags.get(_CHANNELS, 1) if is_apart else 1)
    for number, start, length in zip(range(num_parts), offsets, num_bytes, strict=False):
        # The last strip may have all rows or only those that are left.
        left = rows if is_tiled else min(rows, height - rows * (number % down))
        yield data[start : start + length], left * row_bytes, rows * row_bytes


class _Reported(threading.local):
    """The first of libtiff's messages in this thread since it was asked for."""

    message = ""


_reported = _Reported()
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_Extender = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _note_error(_module: bytes | None, text: bytes | None, _values: Any) -> None:
    """Note an error by its text, in which places (%u) stand for its numbers."""
    _reported.message = _reported.message or printable((text or b"an error").decode(errors="replace"))


def _note_warning(module: bytes | None, _text: bytes | None, _values: Any) -> None:
    """Note a row of fax data that is too long or too short: others are about tags."""
    if module is not None and module.startswith(b"Fax"):
        _reported.message = _reported.message or "a row of fax data has a wrong length"


def _keep_warnings(_file: Any) -> None:
    """Ask for warnings once more: Pillow switches them off just before it opens a file, which calls this."""
    _libtiff.TIFFSetWarningHandler(_ON_WARNING)


_libtiff: Any = ctypes.CDLL(_imaging.__file__)
"""The library that Pillow is linked with, whatever its name and place."""

_ON_ERROR, _ON_WARNING, _ON_OPEN = _Handler(_note_error), _Handler(_note_warning), _Extender(_keep_warnings)

with suppress(AttributeError):  # where it is hidden, Pillow alone tells of damage
    _libtiff.TIFFSetErrorHandler(_ON_ERROR)
    _libtiff.TIFFSetTagExtender(_ON_OPEN)
