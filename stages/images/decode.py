"""From the bytes of an image file to pixels of the wanted form."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from schemas.shared.image import Color, ImageForm
from stages.images.source import UnreadableFile
from stages.shared.text import printable

Pixels = npt.NDArray[np.uint8]
Fingerprint = Callable[[bytes, Pixels], bytes]

# Large enough that handing work to a thread costs little beside it, small enough to keep memory flat.
_FILES_PER_TASK = 32
_BYTES_PER_TASK = 4 * 2**20


class Undecodable(ValueError):
    """The bytes are no image OpenCV can read; the message says why."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that may be an image."""

    path: str
    """What the file is called in tables and messages."""

    read: Callable[[], bytes]
    """Returns the whole file; called from another thread, may raise UnreadableFile."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of one file: its pixels, or the reason why there are none."""

    path: str
    pixels: Pixels | None
    reason: str
    fingerprint: bytes
    """Empty where there are no pixels, or none was asked for."""


def no_fingerprint(data: bytes, pixels: Pixels) -> bytes:
    """Return no bytes: what an image is like is not asked for."""
    return b""


def decode_files(
    files: Iterable[ImageFile],
    form: ImageForm,
    *,
    workers: int,
    fingerprint: Fingerprint = no_fingerprint,
) -> Iterator[Decoded]:
    """Read and decode files in several threads; yield the results in the order of the files.

    The threads are a bounded number of files ahead of what was yielded, so memory does not grow with the
    number of files, and they go on while whoever asks for the results is busy with them.

    Args:
        files: What to read.
        form: What the pixels are brought to.
        workers: How many threads.
        fingerprint: Called there with each file's bytes and what they decode to before it is resized.
    """
    cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would only compete with them
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # its lines name no file; ours do
    bytes_per_image = form.height_px * form.width_px * form.num_channels
    num_files = max(1, min(_FILES_PER_TASK, _BYTES_PER_TASK // bytes_per_image))
    waiting = iter(files)
    pending: deque[Future[list[Decoded]]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        while True:
            while len(pending) < 4 * workers and (task := list(islice(waiting, num_files))):
                pending.append(threads.submit(_decode_some, task, form, fingerprint))
            if not pending:
                return
            yield from pending.popleft().result()


def _decode_some(files: list[ImageFile], form: ImageForm, fingerprint: Fingerprint) -> list[Decoded]:
    return [_decode_file(file, form, fingerprint) for file in files]


def _decode_file(file: ImageFile, form: ImageForm, fingerprint: Fingerprint) -> Decoded:
    try:
        data = file.read()
        pixels = decode_pixels(data, form.color)
        return Decoded(file.path, resize_image(pixels, form), "", fingerprint(data, pixels))
    except (UnreadableFile, Undecodable) as error:
        return Decoded(file.path, None, str(error), b"")


def decode_image(data: bytes, form: ImageForm) -> Pixels:
    """Return an image file's pixels (height, width, channels), brought to the given form.

    Raises:
        Undecodable: The bytes are empty, or no image.
    """
    return resize_image(decode_pixels(data, form.color), form)


def decode_pixels(data: bytes, color: Color) -> Pixels:
    """Return an image file's pixels.

    The file is decoded from memory: `cv2.imread` ends the process on some file names. EXIF orientation is
    applied, transparency dropped, 16 bits a channel reduced to 8, and of an animation the first frame taken.

    Args:
        data: The whole file.
        color: What is wanted.

    Returns:
        uint8 array (height, width, 3), channels in RGB order, or (height, width) for grayscale.

    Raises:
        Undecodable: The bytes are empty, or no image.
    """
    if not data:
        raise Undecodable("the file is empty")
    flags = cv2.IMREAD_COLOR_RGB if color == "rgb" else cv2.IMREAD_GRAYSCALE
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise Undecodable(f"OpenCV refuses it: {printable(error.err)}") from None
    if pixels is None:
        raise Undecodable("cannot be decoded as an image")
    return np.asarray(pixels, dtype=np.uint8)


def resize_image(pixels: Pixels, form: ImageForm) -> Pixels:
    """Bring pixels (any height, any width[, channels]) to (height_px, width_px, channels)."""
    height, width = pixels.shape[:2]
    if form.resize == "squish":
        resized = _scale(pixels, height_px=form.height_px, width_px=form.width_px)
    elif form.resize == "pad":
        scale = min(form.height_px / height, form.width_px / width)
        resized = _scale(
            pixels, height_px=max(1, round(height * scale)), width_px=max(1, round(width * scale))
        )
        resized = _pad(resized, form)
    else:
        # Cut before scaling: of a strip of 1 x 1000 pixels, all would be scaled up and nearly all cut off.
        resized = _scale(_crop(pixels, form), height_px=form.height_px, width_px=form.width_px)
    return resized.reshape(form.height_px, form.width_px, form.num_channels)


def _scale(pixels: Pixels, *, height_px: int, width_px: int) -> Pixels:
    """Resize: first what shrinks, by area averaging, free of moire; then what grows, linearly.

    OpenCV averages only where no side grows, hence the two steps.
    """
    height, width = pixels.shape[:2]
    shrunk = (min(width, width_px), min(height, height_px))
    for size, interpolation in ((shrunk, cv2.INTER_AREA), ((width_px, height_px), cv2.INTER_LINEAR)):
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=interpolation), dtype=np.uint8)
    return pixels


def _crop(pixels: Pixels, form: ImageForm) -> Pixels:
    """Return the largest part of an image, around its centre, that has the form's aspect ratio."""
    height, width = pixels.shape[:2]
    height_px = min(height, max(1, round(width * form.height_px / form.width_px)))
    width_px = min(width, max(1, round(height * form.width_px / form.height_px)))
    top, left = (height - height_px) // 2, (width - width_px) // 2
    return pixels[top : top + height_px, left : left + width_px]


def _pad(pixels: Pixels, form: ImageForm) -> Pixels:
    """Centre an image on black."""
    canvas = np.zeros((form.height_px, form.width_px, *pixels.shape[2:]), dtype=np.uint8)
    height, width = pixels.shape[:2]
    top, left = (form.height_px - height) // 2, (form.width_px - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas
