"""WebP: what its chunks say, and its pixels by OpenCV (libwebp).

libwebp refuses a picture whose data end too early, but once the picture is full it does not ask what is left
of them. Damage sends its entropy decoder astray, so that it needs more data or fewer. The second is found by
decoding again without the last bytes, which sound data need (docs/decisions/038-what-is-left-over.md).

Sources: RFC 9649 (container and VP8L), RFC 6386 (VP8).
"""

import struct
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stages.images.headers import Header, Undecodable, cut_off, damaged, read_orientation
from stages.images.resize import Pixels
from stages.images.to_rgb import render_array
from stages.shared.errors import printable

_LOSSY, _LOSSLESS, _ALPHA, _FRAME, _EXTENDED = b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"VP8X"

_SPARE_BYTES = 8
"""Twice what any of 800 sound files of several encoders could lose and still be decoded."""

_LEAST_BYTES = 32
"""That OpenCV asks for; a picture of one colour has fewer."""

_ANIMATED = 2
"""Of the flags of VP8X."""

_BYTES_PER_PIXEL = 13
"""Memory that decoding takes at most, measured; a picture with alpha is turned."""


class _Frame(NamedTuple):
    """A picture: all there is, or the first of an animation."""

    width_px: int
    height_px: int
    left_px: int
    top_px: int
    """Where it lies on the canvas."""

    chunks: dict[bytes, memoryview]
    """ALPH and VP8, or VP8L."""


def is_webp(data: bytes) -> bool:
    """Return whether a file begins like a WebP."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read_webp_header(data: bytes) -> Header:
    """Return what a WebP's chunks say. What follows them is ignored, as are later frames.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    chunks = _read_file(data)
    width_px, height_px, _ = _read_canvas(chunks)
    orientation = read_orientation(bytes(chunks.get(b"EXIF", b"")))
    return Header("WebP", height_px, width_px, _BYTES_PER_PIXEL, orientation)


def decode_webp(data: bytes, *, gray: bool) -> Pixels:
    """Return a WebP's pixels on white: (height, width, 3) in RGB order, or (height, width) for gray.

    Raises:
        Undecodable: It is cut off or damaged.
        cv2.error: There is not enough memory.
    """
    width_px, height_px, frame = _read_canvas(_read_file(data))
    pixels = render_array(decode_with_opencv(_join(frame, frame.chunks), "WebP"), gray=gray)
    _check_leftovers(frame)
    if pixels.shape[:2] != (frame.height_px, frame.width_px):
        raise damaged("its picture is of another size than its frame")
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    canvas = np.full((height_px, width_px, *pixels.shape[2:]), 255, dtype=np.uint8)
    bottom, right = frame.top_px + frame.height_px, frame.left_px + frame.width_px
    canvas[frame.top_px : bottom, frame.left_px : right] = pixels
    return canvas


def decode_with_opencv(data: bytes, format_name: str) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return the pixels as stored: (height, width) gray, (height, width, 3) RGB or (height, width, 4) RGBA.

    Raises:
        Undecodable: OpenCV does not decode it.
        cv2.error: There is not enough memory.
    """
    # As stored: asked for gray, libpng would weigh the colours by the file's gamma, which is ignored for RGB.
    reason = ""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise
        pixels, reason = None, f": {printable(error.err)}"
    if pixels is None:
        raise damaged(f"OpenCV cannot decode this {format_name}{reason}")
    if pixels.ndim == 3:
        order = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        pixels = cv2.cvtColor(pixels, order, dst=pixels)
    return np.asarray(pixels)


def _read_file(data: bytes) -> dict[bytes, memoryview]:
    """Return the chunks of a file, of those of one kind the first."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < max(end, 20):
        raise cut_off(f"it has {len(data):,} bytes and says {end:,}")
    return _read_chunks(data, 12, end)


def _read_chunks(data: bytes | memoryview, position: int, end: int) -> dict[bytes, memoryview]:
    chunks: dict[bytes, memoryview] = {}
    view = memoryview(data)
    while position + 8 <= end:
        kind, num_bytes = struct.unpack_from("<4sI", data, position)
        position += 8 + num_bytes
        if position > end:
            raise damaged("a chunk is longer than what it is in")
        chunks.setdefault(kind, view[position - num_bytes : position])
        position += num_bytes & 1
    return chunks


def _read_canvas(chunks: dict[bytes, memoryview]) -> tuple[int, int, _Frame]:
    """Return width and height of the canvas, and the picture on it."""
    try:
        extended = chunks.get(_EXTENDED)
        if extended is None:
            frame = _read_picture(chunks)
            return frame.width_px, frame.height_px, frame
        width_px, height_px = _read_sides(extended, 4)
        if extended[0] & _ANIMATED:
            body = chunks[_FRAME]
            frame = _read_picture(_read_chunks(body, 16, len(body)))
            left, top = (2 * int.from_bytes(body[i : i + 3], "little") for i in (0, 3))
            frame = frame._replace(left_px=left, top_px=top)
            is_fitting = _read_sides(body, 6) == (frame.width_px, frame.height_px)
        else:
            frame = _read_picture(chunks)
            is_fitting = (width_px, height_px) == (frame.width_px, frame.height_px)
    except (KeyError, IndexError, struct.error):
        raise damaged("it has no picture") from None
    if (
        not is_fitting
        or frame.left_px + frame.width_px > width_px
        or frame.top_px + frame.height_px > height_px
    ):
        raise damaged("its picture is of another size than its canvas")
    return width_px, height_px, frame


def _read_sides(body: memoryview, start: int) -> tuple[int, int]:
    """Return width and height, stored less one in three bytes each."""
    return (
        1 + int.from_bytes(body[start : start + 3], "little"),
        1 + int.from_bytes(body[start + 3 : start + 6], "little"),
    )


def _read_picture(chunks: dict[bytes, memoryview]) -> _Frame:
    if _LOSSLESS in chunks:
        signature, sides = struct.unpack_from("<BI", chunks[_LOSSLESS])
        width_px, height_px = 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
        is_valid = signature == 0x2F
    else:
        start_code, width_px, height_px = struct.unpack_from("<3x3s2H", chunks[_LOSSY])
        width_px, height_px = width_px & 0x3FFF, height_px & 0x3FFF
        is_valid = start_code == b"\x9d\x01\x2a" and width_px > 0 and height_px > 0
    if not is_valid:
        raise damaged("its picture has no valid header")
    kinds = (_LOSSLESS,) if _LOSSLESS in chunks else (_ALPHA, _LOSSY)
    return _Frame(width_px, height_px, 0, 0, {kind: chunks[kind] for kind in kinds if kind in chunks})


def _join(frame: _Frame, chunks: dict[bytes, memoryview]) -> bytes:
    """Return a WebP file of one picture."""
    if _ALPHA in chunks:
        sides = (frame.width_px - 1).to_bytes(3, "little") + (frame.height_px - 1).to_bytes(3, "little")
        chunks = {_EXTENDED: memoryview(b"\x10\0\0\0" + sides), **chunks}
    parts: list[bytes | memoryview] = []
    for kind, body in chunks.items():
        parts += [struct.pack("<4sI", kind, len(body)), body, bytes(len(body) & 1)]
    return b"".join([struct.pack("<4sI4s", b"RIFF", 4 + sum(map(len, parts)), b"WEBP"), *parts]).ljust(
        _LEAST_BYTES, b"\0"
    )


def _check_leftovers(frame: _Frame) -> None:
    """Refuse a picture that is full before its data end."""
    for kind, body in frame.chunks.items():
        shortened = {**frame.chunks, kind: body[:-_SPARE_BYTES]}
        if kind == _LOSSY:  # without its alpha, which is a picture of its own
            shortened.pop(_ALPHA, None)
        try:
            decode_with_opencv(_join(frame, shortened), "WebP")
        except Undecodable:
            continue
        raise damaged("its pixels end before their data do")
