"""HEIC and AVIF, as phones take them: AVIF by Pillow (libavif), HEIC by the optional library pillow-heif.

libheif, which is behind pillow-heif, turns a picture as the file's own boxes say. EXIF's orientation, which
says the same again, is not asked.

Source: ISO/IEC 23008-12 (HEIF).
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from PIL import AvifImagePlugin

from stages.images.headers import (
    Header,
    Undecodable,
    cut_off,
    damaged,
    explain_errors,
    find_brand,
    read_orientation,
)
from stages.images.hevc import check_tiles, read_boxes
from stages.images.resize import Pixels
from stages.images.to_rgb import render_array, render_image
from stages.shared.errors import printable

if TYPE_CHECKING:
    from pillow_heif import HeifImage

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a process for every core

INSTALL_HEIF = "pip install pillow-heif"

_AVIF_BYTES_PER_PIXEL = 12
_USUAL_BYTES_PER_PIXEL, _FULL_BYTES_PER_PIXEL, _WIDE_BYTES_PER_PIXEL = 8, 13, 21
"""Memory that decoding takes at most, measured: a HEIC as phones take them; with alpha, or colours at full
size; with more than 8 bits. Without alpha that takes less."""

_ALPHA_BYTES_PER_PIXEL = 4

_WHOLE_BOXES = (b"ftyp", b"meta", b"mdat", b"moov", b"idat", b"free", b"skip", b"uuid")
"""That stand in a file one after the other; what begins otherwise is rubbish behind the end."""


def read_heif_header(data: bytes) -> Header:
    """Return what the header of a HEIC or AVIF claims of its primary image.

    Raises:
        Undecodable: It is cut off or damaged; or a HEIC, and pillow-heif is not installed.
    """
    kind = find_brand(data)
    _check_boxes(data)
    if kind == "AVIF":
        with explain_errors(kind):
            image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
        # Pillow makes an EXIF orientation of the file's boxes, and drops one that says otherwise.
        orientation = read_orientation(image.info.get("exif", b""))
        width_px, height_px = image.size
        return Header(kind, height_px, width_px, _AVIF_BYTES_PER_PIXEL, orientation, image)
    with _explain_errors():
        primary = _open(data)
    width_px, height_px = primary.size
    if int(str(primary.info["bit_depth"])) > 8:
        bytes_per_pixel = _WIDE_BYTES_PER_PIXEL - (0 if primary.has_alpha else _ALPHA_BYTES_PER_PIXEL)
    else:
        is_usual = primary.info.get("chroma", 420) == 420 and not primary.has_alpha
        bytes_per_pixel = _USUAL_BYTES_PER_PIXEL if is_usual else _FULL_BYTES_PER_PIXEL
    return Header(kind, height_px, width_px, bytes_per_pixel)


def decode_heic(data: bytes, header: Header, *, gray: bool) -> Pixels:
    """Return the pixels of a HEIC's primary image: (height, width, 3) RGB, or (height, width) for gray.

    More than 8 bits become 8 by the file's own maximum.

    Raises:
        Undecodable: It is damaged, or of another size than its header says.
    """
    with _explain_errors():
        primary = _open(data)
        if primary.has_alpha:
            pixels = render_image(primary.to_pillow(), gray=gray)
        else:
            pixels = render_array(np.asarray(primary), gray=gray)
    if pixels.shape[:2] != (header.height_px, header.width_px):
        raise damaged("its picture is of another size than its header says")
    check_tiles(data)
    return pixels


def _open(data: bytes) -> "HeifImage":
    """Return the primary image, not decoded yet.

    Raises:
        Undecodable: The library is not there.
        Exception: libheif refuses the file.
    """
    if find_spec("pillow_heif") is None:
        raise Undecodable(
            f"is a HEIC image, which the optional library pillow-heif reads; install it with: {INSTALL_HEIF}"
        )
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.THUMBNAILS = pillow_heif.options.AUX_IMAGES = False
    file = pillow_heif.HeifFile(data)
    return file[file.primary_index]


@contextmanager
def _explain_errors() -> Iterator[None]:
    """Turn what pillow-heif raises in the block into an Undecodable."""
    try:
        yield
    except (MemoryError, Undecodable):
        raise
    except ImportError as error:
        text = printable(str(error))
        if "failed to map" in text or "annot allocate" in text:  # the loader's own words
            raise MemoryError(text) from None
        raise Undecodable(
            f"is a HEIC image, and pillow-heif cannot be loaded ({text}); install it again: {INSTALL_HEIF}"
        ) from None
    except Exception as error:
        text = printable(str(error).strip()).rstrip(".") or type(error).__name__
        if "end of file" in text:
            raise cut_off(text) from None
        raise damaged(f"libheif cannot decode it: {text}") from None


def _check_boxes(data: bytes) -> None:
    """Refuse a file that is cut off: of a picture in tiles, libheif leaves missing ones blank."""
    for kind, _, end in read_boxes(data, 0, len(data)):
        if kind not in _WHOLE_BOXES:
            return
        if end > len(data):
            raise cut_off(f"it has {len(data):,} bytes and says {end:,}")
