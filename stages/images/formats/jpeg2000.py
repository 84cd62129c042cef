"""JPEG 2000: boxes, the main header, and the lengths of the tiles.

Source: ITU-T T.800, annexes A (codestream) and I (JP2 file format).
"""

import struct

from stages.images.formats.header import Header, Undecodable, cut_off, damaged

CODESTREAM = b"\xff\x4f\xff\x51"
_SIZ = struct.Struct(">HHIIIIIIIIH")
_SOT, _EOC = 0xFF90, 0xFFD9


def read_jpeg2000(data: bytes) -> Header:
    """Return what a JPEG 2000 file or codestream states; all its tiles must be there in full.

    Raises:
        Undecodable: It is cut off, damaged, or of a kind that is not decoded.
    """
    start, end = (0, len(data)) if data.startswith(CODESTREAM) else _find_codestream(data)
    try:
        _, _, right, bottom, left, top, *tiles, num_channels = _SIZ.unpack_from(data, start + 4)
        bits = (data[start + 42] & 0x7F) + 1
        num_tiles = _follow_tiles(data, start + 2, end)
    except (IndexError, struct.error):
        raise cut_off("it has no end mark") from None
    height_px, width_px = bottom - top, right - left
    tile_width, tile_height, tile_left, tile_top = tiles
    if min(height_px, width_px, tile_width, tile_height, num_channels) <= 0:
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels")
    needed = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if num_tiles != needed:
        raise damaged(f"of {needed:,} tiles it has {num_tiles:,}")
    if num_channels > 4 or bits > 16:
        raise Undecodable(
            f"has {num_channels} channels of {bits} bits; supported are at most 4 of at most 16 bits"
        )
    return Header("JPEG 2000", height_px, width_px, 3 + 5 * num_channels, bits, has_alpha=num_channels == 4)


def _find_codestream(data: bytes) -> tuple[int, int]:
    """Return where the first codestream of a JP2 file starts and ends."""
    position = 0
    while position + 8 <= len(data):
        num_bytes, kind = struct.unpack_from(">I4s", data, position)
        header_bytes = 8
        if num_bytes == 1 and position + 16 <= len(data):
            (num_bytes,) = struct.unpack_from(">Q", data, position + 8)
            header_bytes = 16
        end = position + num_bytes if num_bytes else len(data)
        if end < position + header_bytes:
            raise damaged(f"a box claims {num_bytes} bytes")
        if kind == b"jp2c":
            if end > len(data):
                raise cut_off(f"of {num_bytes:,} bytes of pixels it has {len(data) - position:,}")
            if not data.startswith(CODESTREAM, position + header_bytes):
                raise damaged("its pixels have no header")
            return position + header_bytes, end
        position = end
    raise cut_off("it holds no pixels")


def _follow_tiles(data: bytes, position: int, end: int) -> int:
    """Follow segments and tiles to the end mark; return how many different tiles there are."""
    tiles: set[int] = set()
    while True:
        (marker,) = struct.unpack_from(">H", data, position)
        if marker == _EOC:
            return len(tiles)
        if marker == _SOT:
            tile, num_bytes = struct.unpack_from(">HI", data, position + 4)
            tiles.add(tile)
        else:
            num_bytes = 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker < 0xFF00:
            raise damaged(f"no marker at byte {position:,}")
        if marker == _SOT:
            if not num_bytes:  # up to the end mark
                if data.rfind(b"\xff\xd9", position, end) < 0:
                    raise cut_off("it has no end mark")
                return len(tiles)
            if num_bytes < 14:
                raise damaged(f"a tile claims {num_bytes} bytes")
        position += num_bytes
        if position + 2 > end:
            raise cut_off("a tile is not there in full")
