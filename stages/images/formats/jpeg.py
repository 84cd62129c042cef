"""JPEG: segments, scans, and the end marker.

Source: ITU-T T.81, annex B (markers), annex G (progression).
"""

import re
import struct

from stages.images.formats.header import Header, Undecodable, cut_off, damaged

_SEGMENT = struct.Struct(">BBH").unpack_from
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that is no restart marker, no stuffed byte and no fill byte."""

_DHT, _SOS, _EOI, _DQT = 0xC4, 0xDA, 0xD9, 0xDB
_SEQUENTIAL = (0xC0, 0xC1)
_PROGRESSIVE = (0xC2, 0xCA)
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_DECODED = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_SKIPPED = frozenset(range(0x02, 0xFF)) - _FRAMES - {*range(0xD0, 0xD9), _SOS, _EOI, _DQT}
"""Segments that have a length, and that matter to the decoder alone."""

_HOLE = bytes(64)
"""What a disk, a download or an unpacker leaves where it lost something: null bytes."""

_MOST_PIXELS_A_BYTE = 256
"""A block of 8 x 8 pixels takes at least two bits (two Huffman codes), and one channel has all blocks."""


def read_jpeg(data: bytes) -> Header:
    """Return what a JPEG states; its segments and scans are followed to the end marker.

    What stands behind the end marker (a second picture, a video, rubbish) is not looked at. Whether the scans
    hold all of the picture only decoding can tell.

    Raises:
        Undecodable: It is cut off, damaged, or of a kind that is not decoded.
    """
    frame: tuple[int, int] | None = None
    scans: list[int] = []
    position = 2
    try:
        while True:
            start, marker, num_bytes = _SEGMENT(data, position)
            if start != 0xFF:
                position = _find_marker(data, position)
            elif marker in _SKIPPED:
                position += 2 + num_bytes
            elif marker == _DQT:
                if data[position + 4] < 16 and 0 in data[position + 5 : position + 69]:  # of 8 bits each
                    raise damaged("its quantization table has a nought")
                position += 2 + num_bytes
            elif marker in _FRAMES:
                if frame is not None:
                    raise damaged("it has two frame headers")
                frame = (marker, position + 2)
                position += 2 + num_bytes
            elif marker == _SOS:
                if frame is None:
                    raise damaged("its pixels stand before its frame header")
                scans.append(position + 2)
                found = _SCAN_END.search(data, position + 2 + num_bytes)
                if found is None:
                    raise cut_off("its pixels have no end marker")
                position = found.start()
                if data[position + 1] == _EOI:
                    return _read_frame(data, *frame, scans, end=position)
            elif marker == _EOI:
                raise cut_off("it ends before its pixels")
            else:  # a fill byte, or a marker without a length
                position += 1 if marker == 0xFF else 2
    except (struct.error, IndexError):
        raise cut_off("it has no end marker") from None


def _find_marker(data: bytes, position: int) -> int:
    """Return where the next marker is, behind null bytes that pad what was before."""
    found = data.find(b"\xff", position)
    if found < 0:
        raise cut_off("it has no end marker")
    if data[position:found].strip(b"\0"):
        raise damaged("its segments do not join")
    return found


def _read_frame(data: bytes, marker: int, segment: int, scans: list[int], *, end: int) -> Header:
    if marker not in _DECODED:
        raise Undecodable("is a lossless or hierarchical JPEG, which is not supported; save it as PNG")
    bits, num_channels = data[segment + 2], data[segment + 7]
    height_px = data[segment + 3] << 8 | data[segment + 4]
    width_px = data[segment + 5] << 8 | data[segment + 6]
    if bits != 8:
        raise Undecodable(f"is a JPEG of {bits} bits a channel, which is not supported; save it as PNG")
    if not height_px or not width_px:
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels")
    if num_channels not in (1, 3, 4):
        raise damaged(f"it claims {num_channels} channels")
    progressive = marker in _PROGRESSIVE
    if marker in _SEQUENTIAL and len(data) * _MOST_PIXELS_A_BYTE < height_px * width_px:
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels, and holds {len(data):,} bytes")
    if progressive or len(scans) != 1 or data[scans[0] + 2] != num_channels:
        _refuse_missing_scans(data, segment, scans, progressive=progressive)
        # Coefficients of the whole picture are kept, two bytes each, before the first pixel is made.
        return Header("JPEG", height_px, width_px, 3 + 2 * num_channels)
    hole = data.find(_HOLE, scans[0], end)
    if hole >= 0 and data[hole:end].strip(b"\0") and not _may_be_blank(data):
        raise damaged(f"null bytes stand where pixels should, at byte {hole:,}")
    return Header("JPEG", height_px, width_px, 6)


def _may_be_blank(data: bytes) -> bool:
    """Return whether null bytes may stand for blank pixels.

    They do if the code of noughts only, the first one of a table, ends a block. In the usual tables it does
    not: there null bytes are 63 equal coefficients a block, which no photograph holds.
    """
    position = 2
    while (found := data.find(b"\xff\xc4", position)) >= 0:
        position = found + 4
        end = found + 2 + int.from_bytes(data[found + 2 : found + 4], "big")
        while position + 17 <= min(end, len(data)):
            is_ac, num_codes = data[position] >> 4, sum(data[position + 1 : position + 17])
            if is_ac and data[position + 17 : position + 18] != b"\0":
                return False
            position += 17 + num_codes
        position = max(position, found + 4)
    return True


def _refuse_missing_scans(data: bytes, segment: int, scans: list[int], *, progressive: bool) -> None:
    """Refuse a picture that comes in several scans and lacks the last ones: decoders say nothing of it.

    Args:
        data: The whole file.
        segment: Where the frame header is.
        scans: Where the scan headers are.
        progressive: Whether each scan holds some of the coefficients, or some of their bits.
    """
    # For each channel, the lowest bit that has come of each of its 64 coefficients.
    lowest = {data[segment + 8 + 3 * i]: [16] * 64 for i in range(data[segment + 7])}
    for scan in scans:
        num_channels = data[scan + 2]
        if data[scan] << 8 | data[scan + 1] != 6 + 2 * num_channels:
            raise damaged("a scan header has a wrong length")
        first, last, bits = data[scan + 3 + 2 * num_channels : scan + 6 + 2 * num_channels]
        if not progressive:
            first, last, bits = 0, 63, 0  # some cameras write others, and decoders look away
        for i in range(num_channels):
            channel = data[scan + 3 + 2 * i]
            if channel not in lowest or first > last or last > 63:
                raise damaged("a scan is of no channel it has")
            lowest[channel][first : last + 1] = [bits & 15] * (last + 1 - first)
    if any(any(bits) for bits in lowest.values()):
        raise cut_off("its last scans are missing")


def strip_jpeg(data: bytes) -> bytes:
    """Return a JPEG that read_jpeg accepts, without what decoders complain of and could do without.

    That is padding between segments, all application data but Adobe's colour transform, and scan parameters
    that a sequential JPEG has no use for.
    """
    kept = [data[:2]]
    position, is_sequential = 2, False
    while True:
        position = data.index(b"\xff", position)
        marker = data[position + 1]
        if marker == _EOI:
            return b"".join((*kept, b"\xff\xd9"))
        if not (marker in _SKIPPED or marker in _FRAMES or marker in (_SOS, _DQT)):
            position += 1 if marker == 0xFF else 2
            continue
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        segment = data[position:end]
        is_sequential |= marker in _SEQUENTIAL
        if marker == _SOS:
            found = _SCAN_END.search(data, end)
            assert found is not None
            kept += (segment[:-3] + b"\0\x3f\0" if is_sequential else segment, data[end : found.start()])
            end = found.start()
        elif not 0xE0 <= marker < 0xEE and marker not in (0xEF, 0xFE):
            kept.append(segment)
        position = end
