"""Pixels of any size brought to the wanted form."""

import cv2
import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm

Pixels = npt.NDArray[np.uint8]


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
