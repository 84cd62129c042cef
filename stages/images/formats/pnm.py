"""PBM, PGM and PPM: a header in text, and the length of the pixels.

Source: the Netpbm manual pages pbm(5), pgm(5) and ppm(5).
"""

import re

from stages.images.formats.header import Header, cut_off, damaged

_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_SIZE = re.compile(rb"P[1-6]" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})")
_MOST = re.compile(_GAP + rb"(\d{1,5})")


def read_pnm(data: bytes) -> Header:
    """Return what a PBM, PGM or PPM states; all its pixels must be there.

    Raises:
        Undecodable: It is cut off or damaged.
    """
    size = _SIZE.match(data)
    if size is None:
        raise damaged("its header states no size")
    width_px, height_px = int(size[1]), int(size[2])
    kind, most, end = data[1] - ord("0"), 1, size.end()
    if kind not in (1, 4):
        found = _MOST.match(data, end)
        if found is None or not 0 < int(found[1]) < 2**16:
            raise damaged("its header states no highest value")
        most, end = int(found[1]), found.end()
    if not width_px or not height_px:
        raise damaged(f"it claims {width_px:,} x {height_px:,} pixels")
    num_samples = width_px * (3 if kind in (3, 6) else 1)
    if kind <= 3:  # in text: a digit and a space for each sample; of a bitmap the spaces may lack
        num_bytes = num_samples * height_px * (1 if kind == 1 else 2) - 1
    elif kind == 4:
        num_bytes = (width_px + 7) // 8 * height_px
    else:
        num_bytes = num_samples * height_px * (1 if most < 256 else 2)
    if len(data) - end - (kind > 3) < num_bytes:
        raise cut_off(f"of {num_bytes:,} bytes of pixels it has {max(0, len(data) - end - 1):,}")
    # OpenCV looks at the highest value only where 8 bits are written in text.
    is_scaled = most in (255, 65535) or (kind < 4 and most < 255) or kind == 4
    bits = 16 if most > 255 else 8
    white = 0 if is_scaled else most
    return Header("PNM", height_px, width_px, 12 if white else 6, bits, white=white)
