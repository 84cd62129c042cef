"""From the bytes of an image file to pixels of the wanted form.

docs/images.md says what becomes of each kind of image.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm
from stages.images.complaints import CapturedStderr, explain_failure, refuse_damage
from stages.images.formats.detect import read_header
from stages.images.formats.gif import mend_gif
from stages.images.formats.header import Header, Undecodable
from stages.images.formats.jpeg import strip_jpeg
from stages.images.resize import Pixels, resize_image
from stages.images.stored import render_stored

_MIN_SIDE_PX = 32
"""What images are compared at, to find those that look alike."""

_REDUCED_RGB = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_REDUCED_GRAY = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is refused, by its header and before anything is decoded if it can be."""

    max_pixels: int
    """Of a picture whose decoding takes 6 bytes a pixel, as most do; of others fewer, in proportion."""

    max_file_bytes: int

    max_seconds: float
    """For decoding one file; kept where a process of its own does it, which can be ended."""

    @property
    def max_memory_bytes(self) -> int:
        """Return how much memory decoding may ask for."""
        return max(2**29, BYTES_PER_PIXEL * self.max_pixels + 2**25)


BYTES_PER_PIXEL = 6
"""What `max_pixels` counts on: a photograph, and once more while it is turned upright."""

DEFAULT_LIMITS = DecodeLimits(max_pixels=80_000_000, max_file_bytes=200_000_000, max_seconds=5.0)
"""For who has no params.yaml: what stands there when it is new. At most 512 MB for pixels."""


class Decoded(NamedTuple):
    """A decoded image."""

    pixels: Pixels
    """(height, width, 3) in RGB order, or (height, width) for grayscale; upright, perhaps at reduced size."""

    height_px: int
    width_px: int
    """Of the whole image, upright."""


class Decoder:
    """Turns image files into pixels, and refuses those that are damaged, enormous, or no images.

    Args:
        limits: What is too large.
        takes_stderr: Whether this process is the decoder's own, so that it may take standard error for itself
            and read there what libjpeg and libtiff found amiss. Elsewhere only what the structure of a file
            tells is known of it; the pixels are the same.
    """

    def __init__(self, limits: DecodeLimits, *, takes_stderr: bool = False) -> None:
        self._limits = limits
        self._stderr = CapturedStderr() if takes_stderr else None
        logging = cv2.utils.logging
        logging.setLogLevel(logging.LOG_LEVEL_WARNING if takes_stderr else logging.LOG_LEVEL_SILENT)

    def decode(self, data: bytes, form: ImageForm) -> Decoded:
        """Return an image file's pixels, before they are brought to the form.

        The file is decoded from memory: `cv2.imread` ends the process on some file names. A JPEG is decoded
        at a half, a quarter or an eighth of its size where both sides are then still twice the wanted ones.

        Args:
            data: The whole file.
            form: What the pixels will be brought to.

        Raises:
            Undecodable: The file is no image, damaged, or too large.
        """
        if len(data) > self._limits.max_file_bytes:
            raise Undecodable(
                f"has {len(data):,} bytes, more than the {self._limits.max_file_bytes:,} allowed "
                "(max_file_bytes)"
            )
        header = read_header(data)
        refuse_large(header, self._limits)
        if header.format == "GIF":
            data = mend_gif(data)
        reduction = choose_reduction(header, form)
        pixels = self._decode(data, header, gray=form.color == "grayscale", reduction=reduction)
        if reduction == 1:
            return Decoded(pixels, *pixels.shape[:2])
        return Decoded(pixels, *_upright_sides(header, pixels, reduction))

    def _decode(self, data: bytes, header: Header, *, gray: bool, reduction: int) -> Pixels:
        if header.has_alpha or header.white:
            return render_stored(self._call(data, header, cv2.IMREAD_UNCHANGED), header, gray=gray)
        if reduction > 1:
            flags = (_REDUCED_GRAY if gray else _REDUCED_RGB)[reduction]
        else:
            flags = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB
        pixels = self._call(data, header, flags)
        if reduction > 1 and not gray:  # OpenCV gives reduced pictures in BGR order only
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)
        return pixels

    def _call(self, data: bytes, header: Header, flags: int) -> npt.NDArray[Any]:
        """Return what OpenCV makes of a file, if it does not complain of it."""
        reason = ""
        try:
            pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
        except cv2.error as error:
            pixels, reason = None, error.err
        complaints = "" if self._stderr is None else self._stderr.take()
        if pixels is None:
            raise explain_failure(reason or complaints, kind=header.format)
        if complaints:
            self._hear(complaints, data, header, flags)
        return np.asarray(pixels)

    def _hear(self, complaints: str, data: bytes, header: Header, flags: int) -> None:
        """Refuse what complaints show to be damaged."""
        if header.format != "JPEG" or self._stderr is None:
            refuse_damage(complaints)
            return
        # libjpeg says only the first thing it finds, and much of that is harmless: listen again without it.
        plain = strip_jpeg(data)
        cv2.imdecode(np.frombuffer(plain, dtype=np.uint8), flags)
        refuse_damage(self._stderr.take(), pixels=plain[:-2])


def refuse_large(header: Header, limits: DecodeLimits) -> None:
    """Refuse an image that claims more pixels than may be decoded."""
    num_pixels = header.height_px * header.width_px
    if num_pixels * max(BYTES_PER_PIXEL, header.bytes_per_pixel) > limits.max_pixels * BYTES_PER_PIXEL:
        claim = f"claims {header.width_px:,} x {header.height_px:,} pixels, more than"
        if num_pixels > limits.max_pixels:
            raise Undecodable(f"{claim} the {limits.max_pixels:,} allowed (max_pixels)")
        allowed = limits.max_pixels * BYTES_PER_PIXEL // header.bytes_per_pixel
        raise Undecodable(
            f"{claim} the {allowed:,} that max_pixels allows of this kind of {header.format}, "
            "which takes more memory"
        )


def choose_reduction(header: Header, form: ImageForm) -> int:
    """Return 8, 4, 2 or 1: by how much smaller a JPEG is decoded."""
    if header.format != "JPEG":
        return 1
    wanted = 2 * max(form.height_px, form.width_px, _MIN_SIDE_PX)  # it may have to be turned
    if min(header.height_px, header.width_px) < 2 * wanted - 1:
        return 1
    for reduction in (8, 4, 2):
        height, width = _reduced(header, reduction)
        # Of nearly square ones the reduced picture would not tell whether it was turned.
        if min(height, width) >= wanted and (height != width or header.height_px == header.width_px):
            return reduction
    return 1


def _reduced(header: Header, reduction: int) -> tuple[int, int]:
    return -(-header.height_px // reduction), -(-header.width_px // reduction)


def _upright_sides(header: Header, pixels: Pixels, reduction: int) -> tuple[int, int]:
    """Return height and width of the upright image of which pixels are a reduced picture."""
    if pixels.shape[:2] == _reduced(header, reduction):
        return header.height_px, header.width_px
    return header.width_px, header.height_px


def decode_image(data: bytes, form: ImageForm) -> Pixels:
    """Return an image file's pixels (height, width, channels), brought to the given form.

    Raises:
        Undecodable: The bytes are no image, damaged, or too large.
    """
    return resize_image(Decoder(DEFAULT_LIMITS).decode(data, form).pixels, form)
