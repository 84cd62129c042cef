"""Pixels of any size brought to the wanted form."""

import cv2
import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm

Pixels = npt.NDArray[np.uint8]

_MAX_SMOOTHED = 2.6
"""Up to here three weights can spread as wide as averaging does."""


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
    """Resize, free of moire.

    What shrinks by much, or by whole factors, is averaged by area. The rest is smoothed as much as averaging
    would, and interpolated: that differs from averages by half a grey level in the mean, and takes a third of
    the time.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (height_px, width_px):
        return pixels
    factors = width / width_px, height / height_px
    if max(factors) > _MAX_SMOOTHED or all(factor.is_integer() for factor in factors):
        # OpenCV averages only where no side grows.
        size = (min(width, width_px), min(height, height_px))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    elif max(factors) > 1:
        along_rows, down_columns = map(_smoothing_kernel, factors)
        pixels = np.asarray(cv2.sepFilter2D(pixels, -1, along_rows, down_columns), dtype=np.uint8)
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    linear = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(linear, dtype=np.uint8)


def _smoothing_kernel(factor: float) -> npt.NDArray[np.float32]:
    """Return three weights that spread as wide as averaging over `factor` pixels, but for one, does.

    The variance of a box of that width is factor^2 / 12. They are whole parts of 256, which OpenCV sums up
    exactly, so that what is of one colour stays so.
    """
    side = round(256 * max(0.0, factor**2 - 1) / 24)
    return np.array([side / 256, 1 - side / 128, side / 256], dtype=np.float32)


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
