"""JPEG: segments, scans, and the end marker.

Source: ITU-T T.81, annex B (markers), annex G (progression).
"""

import re

from stages.images.formats.header import Header, Undecodable, cut_off, damaged

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that is no restart marker, no stuffed byte and no fill byte."""

_SOS, _EOI = 0xDA, 0xD9
_SEQUENTIAL = (0xC0, 0xC1)
_PROGRESSIVE = (0xC2, 0xCA)
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_DECODED = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""

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
            if data[position] != 0xFF:  # rubbish between segments, which decoders skip
                position = data.index(b"\xff", position)
            marker = data[position + 1]
            if marker == 0xFF:  # fill bytes
                position += 1
                continue
            position += 2
            if marker == _EOI:
                break
            if marker in _ALONE:
                continue
            segment = position
            position += data[segment] << 8 | data[segment + 1]
            if marker in _FRAMES:
                if frame is not None:
                    raise damaged("it has two frame headers")
                frame = (marker, segment)
            elif marker == _SOS:
                if frame is None:
                    raise damaged("its pixels stand before its frame header")
                scans.append(segment)
                found = _SCAN_END.search(data, position)
                if found is None:
                    raise cut_off("its pixels have no end marker")
                position = found.start()
    except (IndexError, ValueError) as error:
        if isinstance(error, Undecodable):
            raise
        raise cut_off("it has no end marker") from None
    if frame is None or not scans:
        raise cut_off("it ends before its pixels")
    return _read_frame(data, *frame, scans)


def _read_frame(data: bytes, marker: int, segment: int, scans: list[int]) -> Header:
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
        return Header("JPEG", height_px, width_px, 6 + 2 * num_channels)
    return Header("JPEG", height_px, width_px, 6)


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

    That is rubbish between segments, all application data but Adobe's colour transform, and scan parameters
    that a sequential JPEG has no use for.
    """
    kept = [data[:2]]
    position, is_sequential = 2, False
    while True:
        position = data.index(b"\xff", position)
        marker = data[position + 1]
        if marker == _EOI:
            return b"".join((*kept, b"\xff\xd9"))
        if marker == 0xFF or marker in _ALONE:
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
