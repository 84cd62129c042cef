"""JPEG: what its segments say, and its pixels by libjpeg-turbo (simplejpeg).

libjpeg reports most damage as a warning and decodes on; simplejpeg's strict mode makes each warning an error.
This module hides the rest: the harmless warnings, which must not refuse a file, and the damage that libjpeg
does not report (missing scans, a hole of null bytes, impossible tables).

Sources: ITU-T T.81, annexes B (markers) and G (progression); CIPA DC-008 (EXIF).
"""

import io
import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from stages.images.headers import Header, Undecodable, cut_off, damaged, read_orientation
from stages.images.resize import Pixels
from stages.images.to_rgb import render_image
from stages.shared.errors import printable

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that is no restart marker, no stuffed byte and no fill byte."""

_DHT, _SOS, _EOI, _DQT, _APP0, _APP1, _ADOBE, _COMMENT = 0xC4, 0xDA, 0xD9, 0xDB, 0xE0, 0xE1, 0xEE, 0xFE
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), (0xC2, 0xCA)
_DECODED = (*_SEQUENTIAL, *_PROGRESSIVE, 0xC9)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))

_MAX_SCANS = 500
"""Each goes over all coefficients. Encoders write some 10; libjpeg-turbo's own fuzzers stop at 500."""

_FILL = re.compile(rb"\xff*")

_HOLE = bytes(16)
"""Null bytes, which a disk, a download or an unpacker leaves in place of what it lost."""


_Segment = tuple[int, int, int]
"""Marker, start (where the marker is) and end; of a scan (SOS) header and entropy-coded data together. Plain
tuples: objects with names take a fifth of the time that a small JPEG takes to decode."""


def read_jpeg_header(data: bytes) -> Header:
    """Return what a JPEG's segments say, up to the end marker. What follows it (a second picture) is ignored.

    Raises:
        Undecodable: It is cut off, damaged, or of a kind that is not decoded.
    """
    segments = _walk(data)
    frames = [(marker, start) for marker, start, _ in segments if marker in _FRAMES]
    scans = [start + 4 for marker, start, _ in segments if marker == _SOS]
    try:
        if not frames or not scans:
            raise cut_off("it ends before its pixels")
        marker, start = frames[0]
        bits, num_channels = data[start + 4], data[start + 9]
        height_px = int.from_bytes(data[start + 5 : start + 7], "big")
        width_px = int.from_bytes(data[start + 7 : start + 9], "big")
        if marker not in _DECODED:
            raise Undecodable("is a lossless or hierarchical JPEG, which is not supported; save it as PNG")
        if bits != 8:
            raise Undecodable(f"is a JPEG of {bits} bits a channel, which is not supported; save it as PNG")
        if not height_px or not width_px or num_channels not in (1, 3, 4):
            raise damaged(f"it claims {width_px:,} x {height_px:,} pixels of {num_channels} channels")
        is_progressive = marker in _PROGRESSIVE
        has_many_scans = is_progressive or len(scans) != 1 or data[scans[0]] != num_channels
        if len(scans) > _MAX_SCANS:
            raise Undecodable(f"has {len(scans):,} scans, more than the {_MAX_SCANS:,} allowed")
        if has_many_scans:
            _check_scans(data, start, scans, is_progressive=is_progressive)
        elif data.find(_HOLE, scans[0]) >= 0:
            _check_holes(data, segments, scans[0])
        _check_tables(data, segments)
    except IndexError:
        raise cut_off("a segment ends early") from None
    # With several scans libjpeg keeps two bytes for every coefficient of the whole picture.
    bytes_per_pixel = 3 + 2 * num_channels if has_many_scans else 6
    return Header("JPEG", height_px, width_px, bytes_per_pixel, _orientation(data, segments))


def decode_jpeg(data: bytes, header: Header, *, gray: bool, reduction: int) -> Pixels:
    """Return a JPEG's pixels as stored: (height, width, 3) in RGB order, or (height, width) for gray.

    Args:
        data: The whole file.
        header: What read_jpeg_header returned.
        gray: Whether one channel is wanted.
        reduction: 1, 2, 4 or 8: decode at this fraction of the size, rounded up.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    try:
        return _decode_strictly(data, header, gray=gray, reduction=reduction)
    except ValueError as error:
        if "determine subsampling" in str(error):
            return _decode_with_pillow(data, gray=gray)
        reason = str(error)
    # A warning may be harmless and hide a second one: decode again without the segments that cause such.
    # Null bytes before the end marker are padding if the picture is complete without them.
    for drop_padding in (False, True):
        try:
            plain = b"".join(_strip(data, drop_padding=drop_padding))
            return _decode_strictly(plain, header, gray=gray, reduction=reduction)
        except ValueError as error:
            reason = reason if drop_padding else str(error)
    if "remature end" in reason:
        raise cut_off("a part of its pixels is missing")
    raise damaged(printable(reason))


def _decode_strictly(data: bytes, header: Header, *, gray: bool, reduction: int) -> Pixels:
    pixels = simplejpeg.decode_jpeg(
        data,
        "GRAY" if gray else "RGB",
        fastdct=False,
        fastupsample=False,
        min_height=-(-header.height_px // reduction),
        min_width=-(-header.width_px // reduction),
        min_factor=reduction,
        strict=True,
    )
    return np.asarray(pixels[..., 0] if gray else pixels, dtype=np.uint8)


def _decode_with_pillow(data: bytes, *, gray: bool) -> Pixels:
    """Decode a JPEG of a chroma subsampling that TurboJPEG has no name for; only a cut is found there."""
    try:
        return render_image(JpegImagePlugin.JpegImageFile(io.BytesIO(data)), gray=gray)
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(printable(str(error))) from None


def _walk(data: bytes) -> list[_Segment]:
    """Return the segments up to the end marker or the end of the file; damage is left to the decoder."""
    segments = []
    position, num_bytes = 2, len(data)
    while 0 <= position < num_bytes - 3:
        if data[position] != 0xFF:
            position = data.find(b"\xff", position)
            continue
        marker = data[position + 1]
        if marker == _EOI:
            break
        if marker == 0xFF:  # fill bytes, the last of which begins a marker
            position = _FILL.match(data, position).end() - 1  # type: ignore[union-attr]
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            end = position + 2 + (data[position + 2] << 8 | data[position + 3])
            if marker == _SOS:
                found = _SCAN_END.search(data, end)
                end = num_bytes if found is None else found.start()
            segments.append((marker, position, end if end < num_bytes else num_bytes))  # noqa: FURB136 - min() is slow
            position = end
    if position >= 0 and data.startswith(b"\xff\xd9", position):
        segments.append((_EOI, position, position + 2))
    return segments


def _orientation(data: bytes, segments: list[_Segment]) -> int:
    for marker, start, end in segments:
        if marker == _APP1 and data.startswith(b"Exif\0\0", start + 4):
            return read_orientation(data[start + 4 : end])
    return 1


def _check_scans(data: bytes, frame: int, scans: list[int], *, is_progressive: bool) -> None:
    """Refuse a picture that lacks some of its scans: libjpeg shows it blurred, without a warning.

    Args:
        data: The whole file.
        frame: Where the frame header's marker is.
        scans: Where the content of each scan header starts.
        is_progressive: Whether a scan holds only some coefficients, or some of their bits.
    """
    # The lowest bit seen so far of each channel's 64 coefficients; 16 for none.
    lowest = {data[frame + 10 + 3 * i]: [16] * 64 for i in range(data[frame + 9])}
    for scan in scans:
        num_channels = data[scan]
        if data[scan - 2] << 8 | data[scan - 1] != 6 + 2 * num_channels or scan + 4 + 2 * num_channels > len(
            data
        ):
            raise damaged("a scan header has a wrong length")
        first, last, bits = data[scan + 1 + 2 * num_channels : scan + 4 + 2 * num_channels]
        if not is_progressive:  # these have no meaning there, and some cameras write others
            first, last, bits = 0, 63, 0
        for i in range(num_channels):
            channel = data[scan + 1 + 2 * i]
            if channel not in lowest or first > last or last > 63:
                raise damaged("a scan is of no channel it has")
            lowest[channel][first : last + 1] = [bits & 15] * (last + 1 - first)
    if any(any(bits) for bits in lowest.values()):
        raise cut_off("its last scans are missing")


def _check_holes(data: bytes, segments: list[_Segment], scan: int) -> None:
    """Refuse null bytes where pixels should be, unless they may stand for blank pixels.

    They may if in every AC table the shortest code, which consists of zeros, ends a block. In the usual
    tables it does not: there null bytes are 63 equal coefficients in each block, which no photograph has.
    """
    for marker, start, end in segments:
        tables = data[start + 4 : end] if marker == _DHT else b""
        while len(tables) > 17:
            is_ac = tables[0] >> 4
            if is_ac and tables[17]:
                break
            tables = tables[17 + sum(tables[1:17]) :]
        else:
            continue
        pixels_end = next(end for marker, _, end in segments if marker == _SOS)
        hole = data.find(_HOLE, scan, pixels_end)
        if hole >= 0 and data[hole:pixels_end].strip(b"\0"):
            raise damaged(f"null bytes stand where pixels should, at byte {hole:,}")
        return


def _check_tables(data: bytes, segments: list[_Segment]) -> None:
    """Refuse tables that no encoder writes, and of which libjpeg makes another picture.

    A zero in a quantization table of 8 bits wipes out a coefficient, perhaps the brightness.
    """
    for marker, start, end in segments:
        if marker == _DQT and data[start + 4] < 16 and 0 in data[start + 5 : start + 69]:
            raise damaged("its quantization table has a zero")
        if marker == _DHT and _has_twins(data[start + 4 : end]):
            raise damaged("its Huffman table has two codes for one value")


@lru_cache(maxsize=64)  # nearly all files have the tables of the standard's annex K
def _has_twins(tables: bytes) -> bool:
    """Return whether a Huffman table has a value twice: some bytes of it are wrong then."""
    while len(tables) > 17:
        num_values = sum(tables[1:17])
        values, tables = tables[17 : 17 + num_values], tables[17 + num_values :]
        if len(set(values)) < len(values):
            return True
    return False


def _strip(data: bytes, *, drop_padding: bool) -> Iterator[bytes]:
    """Yield a JPEG's parts without those that libjpeg warns of and that its pixels do not depend on.

    These are application data other than Adobe's colour transform, comments, null bytes between segments, the
    scan parameters that a sequential JPEG has no use for and, if asked for, null bytes before the end marker.
    """
    yield data[:2]
    position, is_sequential = 2, False
    for marker, start, end in _walk(data):
        if data[position:start].strip(b"\0\xff"):
            yield data[position:start]
        position = end
        is_sequential |= marker in _SEQUENTIAL
        if marker == _SOS:
            body = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
            pixels = data[body:end].rstrip(b"\0") if drop_padding else data[body:end]
            stuffing = b"\0" if pixels.endswith(b"\xff") else b""
            yield data[start : body - 3] + b"\0\x3f\0" if is_sequential else data[start:body]
            yield pixels + stuffing
        elif marker == _ADOBE or not (_APP0 <= marker <= 0xEF or marker == _COMMENT):
            yield data[start:end]
