"""Which way up an image is to be shown.

Source: CIPA DC-008, "Exchangeable image file format", tag 0x0112.
"""

import struct

_ORIENTATION = 0x0112
_SHORT = 3


def read_orientation(exif: bytes) -> int:
    """Return the orientation that a block of EXIF data states, 1 to 8; 1 where it states none.

    Args:
        exif: A TIFF header and what follows, with or without `Exif` and two null bytes before it.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (num_tags,) = struct.unpack_from(f"{order}H", exif, start)
        for i in range(num_tags):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * i)
            if tag == _ORIENTATION and kind == _SHORT:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # it points outside itself
        pass
    return 1
