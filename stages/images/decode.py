"""From the bytes of an image file to pixels: what a viewer shows, in RGB or gray.

Everything that knows about formats is behind this module. simplejpeg decodes JPEGs, OpenCV plain PNGs and
WebPs, where it is faster, pillow-heif HEICs, and Pillow the other formats. docs/images.md says what becomes
of each kind of image and which damage is found.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import ImageFile, PngImagePlugin

from schemas.shared.manifest import Depth16, ImageForm
from stages.images.headers import (
    JPEG,
    Header,
    Undecodable,
    explain_errors,
    find_brand,
    read_header,
    scale_transparent_gray,
)
from stages.images.heif import decode_heic, read_heif_header
from stages.images.jpeg import decode_jpeg, read_jpeg_header
from stages.images.leftovers import check_bmp_runs, check_gif_frame
from stages.images.resize import Pixels, raise_again
from stages.images.tiff import decode_tiff
from stages.images.to_rgb import WIDE_MODES, render_array, render_image, turn_upright
from stages.images.webp import decode_webp, decode_with_opencv, is_webp, read_webp_header

__all__ = ["DEFAULT_LIMITS", "DecodeLimits", "Decoded", "Undecodable", "decode_image"]

# A log line for every damaged file would bury what the stage says; the file's reason is in its row.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_BYTES_PER_PIXEL = 6
"""What `max_pixels` counts on: a photograph, and once more while it is turned upright."""

_WIDE_BYTES_PER_PIXEL = 20
"""Memory that decoding takes at most where 16 bits are spread over 8: two decoders are asked; measured."""

_ROUNDING = 2
"""Grey levels by which two decoders may differ that make 8 bits of 16, and lay them on white."""

_PIXELS_IN_TIME = 10_000_000
"""Pixels up to which an image has `max_seconds`."""

_MEASURED_PX = 256
"""Images are measured as decoded for this side: of form and colour neither the perceptual hash, nor so what
stays together in a split, may depend. Most forms are smaller, and are decoded for this side as well: decoding
a JPEG twice takes nearly twice as long, at a reduced size too."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is refused, by its header and before anything is decoded if possible."""

    max_pixels: int
    """Of an image whose decoding takes 6 bytes a pixel, as most do; of others fewer, in proportion."""

    max_file_bytes: int

    max_seconds: float
    """CPU time for a file of up to 10 megapixels; enforced where a process of its own decodes, which can be
    ended."""

    @property
    def max_memory_bytes(self) -> int:
        """Return how much memory decoding may ask for: for pixels, and twice for the file."""
        return max(2**29, _BYTES_PER_PIXEL * self.max_pixels + 2**25) + 2 * self.max_file_bytes

    def seconds_for(self, header: Header) -> float:
        """Return how much CPU time an image may take: more in proportion to the memory its header claims.

        A PNG of 79 megapixels and a JPEG 2000 of 26 take more than 5 s on a slow machine, and are sound.
        """
        num_bytes = header.height_px * header.width_px * max(_BYTES_PER_PIXEL, header.bytes_per_pixel)
        return self.max_seconds * max(1.0, num_bytes / (_BYTES_PER_PIXEL * _PIXELS_IN_TIME))


DEFAULT_LIMITS = DecodeLimits(max_pixels=80_000_000, max_file_bytes=200_000_000, max_seconds=5.0)
"""Where there is no params.yaml: the values it ships with. At most 512 MB for pixels."""


class Decoded(NamedTuple):
    """A decoded image."""

    pixels: Pixels
    """(height, width, 3) in RGB order, or (height, width) for grayscale; upright, perhaps at reduced size."""

    measured: Pixels
    """What the image is measured by, (height, width, 3) or (height, width): the same gray levels for every
    form. Where nobody asks for it, the pixels themselves."""

    height_px: int
    width_px: int
    """Of the whole image, upright."""

    bits: int
    """Of a channel; of more than 8, form.depth16 said which grey levels they become."""


def decode_image(
    data: bytes,
    form: ImageForm,
    limits: DecodeLimits = DEFAULT_LIMITS,
    *,
    is_measured: bool = False,
    allow_seconds: Callable[[float], None] | None = None,
) -> Decoded:
    """Return an image file's pixels, before they are brought to the form.

    A JPEG is decoded at a half, a quarter or an eighth of its size where both sides are then still twice the
    wanted ones.

    Args:
        data: The whole file.
        form: What the pixels will be brought to.
        limits: What is too large.
        is_measured: Whether the pixels to measure are wanted as well.
        allow_seconds: Called with the CPU time that the rest may take, once the header was read.

    Raises:
        Undecodable: The file is no image, damaged, or too large.
        MemoryError: Decoding takes more memory than the process may have.
    """
    if len(data) > limits.max_file_bytes:
        raise Undecodable(
            f"has {len(data):,} bytes, more than the {limits.max_file_bytes:,} allowed (max_file_bytes)"
        )
    if data.startswith(JPEG):
        header = read_jpeg_header(data)
    elif find_brand(data):
        header = read_heif_header(data)
    else:
        header = read_webp_header(data) if is_webp(data) else read_header(data)
    if header.bits > 8 and form.depth16 != "high_byte":
        header = header._replace(bytes_per_pixel=max(header.bytes_per_pixel, _WIDE_BYTES_PER_PIXEL))
    _check_limits(header, limits, allow_seconds)
    try:
        return _decode(data, header, form, is_measured=is_measured)
    except cv2.error as error:
        raise_again(error)
    except Undecodable as error:
        refusal = type(error)(str(error))  # without the traceback, which holds what was decoded
    # Decoders that get no memory say that the file is damaged. Ask for it here, where theirs is free again.
    num_bytes = header.height_px * header.width_px * header.bytes_per_pixel
    del header
    np.empty(num_bytes, dtype=np.uint8)
    raise refusal


def _decode(data: bytes, header: Header, form: ImageForm, *, is_measured: bool) -> Decoded:
    gray = form.color == "grayscale"
    if header.format != "JPEG":
        decoded = _decode_other(data, header, gray=gray, depth16=form.depth16)
        pixels = turn_upright(decoded, header.orientation)
        height_px, width_px = pixels.shape[:2]
        return Decoded(pixels, pixels, height_px, width_px, header.bits)

    def decode(reduction: int) -> Pixels:
        # In colour also where gray is wanted: libjpeg's own gray differs from it by a level.
        decoded = decode_jpeg(data, header, gray=False, reduction=reduction)
        return turn_upright(render_array(decoded, gray=gray), header.orientation)

    reduction, of_measured = choose_reduction(header, form), _choose_reduction(header, _MEASURED_PX)
    pixels = decode(reduction)
    measured = pixels if reduction == of_measured or not is_measured else decode(of_measured)
    height_px, width_px = header.height_px, header.width_px
    if header.orientation >= 5:
        height_px, width_px = width_px, height_px
    return Decoded(pixels, measured, height_px, width_px, header.bits)


def _check_limits(
    header: Header, limits: DecodeLimits, allow_seconds: Callable[[float], None] | None
) -> None:
    """Refuse an image that claims more pixels than may be decoded, and give a large one more time."""
    _check_size(header, limits)
    if allow_seconds is not None and (seconds := limits.seconds_for(header)) > limits.max_seconds:
        allow_seconds(seconds)


def _check_size(header: Header, limits: DecodeLimits) -> None:
    """Refuse an image that claims more pixels than may be decoded."""
    num_pixels = header.height_px * header.width_px
    if num_pixels * max(_BYTES_PER_PIXEL, header.bytes_per_pixel) <= limits.max_pixels * _BYTES_PER_PIXEL:
        return
    claim = f"claims {header.width_px:,} x {header.height_px:,} pixels, more than"
    if num_pixels > limits.max_pixels:
        raise Undecodable(f"{claim} the {limits.max_pixels:,} allowed (max_pixels)")
    allowed = limits.max_pixels * _BYTES_PER_PIXEL // header.bytes_per_pixel
    raise Undecodable(
        f"{claim} the {allowed:,} that max_pixels allows of this kind of {header.format}, "
        "which takes more memory"
    )


def choose_reduction(header: Header, form: ImageForm) -> int:
    """Return 8, 4, 2 or 1: by how much smaller a JPEG is decoded."""
    return _choose_reduction(header, max(form.height_px, form.width_px, _MEASURED_PX))


def _choose_reduction(header: Header, side_px: int) -> int:
    """Return by how much smaller a JPEG is decoded that both sides are still twice the wanted ones."""
    shorter = min(header.height_px, header.width_px)
    return next((reduction for reduction in (8, 4, 2) if -(-shorter // reduction) >= 2 * side_px), 1)


def _decode_other(data: bytes, header: Header, *, gray: bool, depth16: Depth16) -> Pixels:
    """Return the pixels of an image that is no JPEG."""
    if header.format == "WebP":
        return decode_webp(data, gray=gray)
    if header.format == "HEIC":
        return decode_heic(data, header, gray=gray)
    image = header.image
    if image is None:  # a plain PNG: OpenCV is faster there
        return render_array(decode_with_opencv(data, header.format), gray=gray, depth16=depth16)
    is_wide_color = header.bits > 8 and image.mode not in WIDE_MODES
    pixels = _decode_with_pillow(data, header, image, gray=gray, depth16=depth16)
    if is_wide_color and depth16 != "high_byte":
        return _decode_wide_color(data, header, pixels, gray=gray, depth16=depth16)
    return pixels


def _decode_with_pillow(
    data: bytes, header: Header, image: ImageFile.ImageFile, *, gray: bool, depth16: Depth16
) -> Pixels:
    """Return the pixels of an image that Pillow has opened; it is closed."""
    if header.format == "TIFF":
        return decode_tiff(image, data, gray=gray, bits=header.bits, depth16=depth16)
    with explain_errors(header.format):
        if header.format == "PNG":  # Pillow checks its checksums only if asked, and closes it then
            image.verify()
            image = PngImagePlugin.PngImageFile(io.BytesIO(data))
            scale_transparent_gray(image, data)
        _check_leftovers(image, data)
        return render_image(image, gray=gray, bits=header.bits, depth16=depth16)


def _decode_wide_color(
    data: bytes, header: Header, decoded: Pixels, *, gray: bool, depth16: Depth16
) -> Pixels:
    """Return the pixels of a PNG or TIFF whose colours have 16 bits, of which Pillow gives the upper 8 only.

    OpenCV gives all, but knows fewer kinds of files and finds less damage.

    Args:
        data: The whole file.
        header: Of it.
        decoded: What Pillow made of it: proof that it is whole, and what OpenCV has to agree with.
        gray: Whether one channel is wanted.
        depth16: `full_range` or `percentile`.

    Raises:
        Undecodable: OpenCV does not decode it, or sees another picture.
    """
    values = decode_with_opencv(data, header.format)
    shown = render_array(values, gray=gray)
    if values.dtype != np.uint16 or shown.shape != decoded.shape or _differ(shown, decoded):
        raise Undecodable(
            f"is a {header.format} of a kind that dataset.depth16: {depth16} does not read; save it as PNG "
            "without transparency, or set high_byte"
        )
    return render_array(values, gray=gray, depth16=depth16)


def _differ(left: Pixels, right: Pixels) -> bool:
    """Return whether pictures of one shape differ by more than rounding."""
    return bool(cv2.norm(left, right, cv2.NORM_INF) > _ROUNDING)


def _check_leftovers(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse a GIF or BMP whose data do not end with its pixels."""
    tiles: Any = image.tile
    for codec, (left, top, right, bottom), start, arguments in tiles:
        width_px, height_px = right - left, bottom - top
        if codec == "gif":
            check_gif_frame(data, start, num_pixels=width_px * height_px)
        elif codec == "bmp_rle":
            check_bmp_runs(data[start:], width_px=width_px, height_px=height_px, is_half_bytes=arguments[1])
