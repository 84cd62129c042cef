"""GIF: its blocks, up to the trailer.

Source: CompuServe, "Graphics Interchange Format, Version 89a".
"""

import struct

from stages.images.formats.header import Header, cut_off, damaged

_TRAILER, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C
_GRAPHIC_CONTROL = 0xF9


def read_gif(data: bytes) -> Header:
    """Return what a GIF states; its blocks are followed to the trailer.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    try:
        width_px, height_px, flags = struct.unpack_from("<HHB", data, 6)
        position = 13 + _palette_bytes(flags)
        num_frames, has_alpha = 0, False
        while (kind := data[position]) != _TRAILER:
            if kind == _EXTENSION:
                if data[position + 1] == _GRAPHIC_CONTROL and not num_frames:
                    has_alpha |= bool(data[position + 3] & 1)
                position += 2
            elif kind == _IMAGE:
                left, top, width, height, flags = struct.unpack_from("<HHHHB", data, position + 1)
                if left + width > width_px or top + height > height_px or not width or not height:
                    raise damaged("a frame lies outside the picture")
                if not num_frames and (width, height) != (width_px, height_px):
                    has_alpha = True
                position += 11 + _palette_bytes(flags)  # and the byte of the smallest code
                num_frames += 1
            else:
                raise damaged(f"a block of kind {kind} at byte {position:,}")
            while num_bytes := data[position]:
                position += 1 + num_bytes
            position += 1
    except (IndexError, struct.error):
        raise cut_off("it has no end mark") from None
    if not num_frames:
        raise damaged("it holds no picture")
    return Header(
        "GIF", height_px, width_px, 12 if has_alpha else 9, has_alpha=has_alpha, num_frames=num_frames
    )


def mend_gif(data: bytes) -> bytes:
    """Return a GIF that read_gif accepts with a background colour that is in its palette.

    OpenCV refuses others. The colour has no say here: what no frame covers is transparent.
    """
    if data[10] & 0x80 and data[11] >= 2 << (data[10] & 7):
        return data[:11] + b"\0" + data[12:]
    return data


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
