"""BMP: its header and the length of its pixels.

Source: Microsoft, "Bitmap Storage" (BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER and later).
"""

import struct

from stages.images.formats.header import Header, Undecodable, cut_off, damaged

_RGB, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHA_BITFIELDS = range(7)
_CORE_HEADER = 12


def read_bmp(data: bytes) -> Header:
    """Return what a BMP states; where its pixels are not compressed, all must be there.

    Raises:
        Undecodable: It is cut off, damaged, or of a kind that is not decoded.
    """
    if len(data) < 26:
        raise cut_off("it has no whole header")
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == _CORE_HEADER:
        width_px, height_px, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = _RGB
    elif len(data) < 14 + header_bytes:
        raise cut_off("it has no whole header")
    elif header_bytes < 36:
        raise damaged(f"its header claims {header_bytes} bytes")
    else:
        width_px, height_px, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height_px = abs(height_px)  # negative: stored from the top
    if width_px <= 0 or not height_px or bits not in (1, 4, 8, 16, 24, 32):
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels of {bits} bits")
    if compression in (_JPEG, _PNG):
        raise Undecodable("is a BMP around a JPEG or PNG, which is not supported; save it as PNG")
    if compression not in (_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS):
        raise damaged(f"it claims compression {compression}")
    if compression not in (_RLE8, _RLE4):
        num_bytes = (width_px * bits + 31) // 32 * 4 * height_px
        if len(data) < start + num_bytes:
            raise cut_off(f"of {num_bytes:,} bytes of pixels it has {max(0, len(data) - start):,}")
    elif data.rfind(b"\0\1", start) < 0:
        raise cut_off("its pixels have no end mark")
    return Header("BMP", height_px, width_px, 6)
