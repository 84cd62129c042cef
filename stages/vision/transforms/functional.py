"""torchvision.transforms.v2.functional on one image, by OpenCV.

An image is uint8 (height, width, channels), 1 or 3 of them, and is not written into. Formulas are
torchvision's, and so are the pixels but for the last bit of a sum, which is rarely a gray level. Where OpenCV
rounds otherwise, the function says so.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

Image: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float64]

Fill = float | tuple[float, ...] | None
"""Value of pixels from outside the image, for all channels or for each; None: black."""

_TO_FLOOR = -0.49995
"""Added before OpenCV rounds, so that it cuts off the fraction as torchvision does. Not -0.5: a whole number
would then lie halfway, and be rounded to the even one."""

_LUMA = np.array([[0.2989, 0.587, 0.114]])

_INTERPOLATIONS = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR}


def invert_affine(
    degrees: float,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    translate: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    shear: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Return the matrix (2, 3) from a pixel of the new image to where it comes from in the old one.

    Args:
        degrees: Angle, clockwise.
        center: Point (x, y) that rotating, scaling and shearing leave in place, in pixels from the middle.
        translate: Pixels across and down.
        scale: Factor.
        shear: Angles across and down in degrees.
    """
    angle, shear_x, shear_y = math.radians(degrees), math.radians(shear[0]), math.radians(shear[1])
    center_x, center_y = center
    # The matrix is rotation * shear * scale; its inverse is written out, as in torchvision.
    a = math.cos(angle - shear_y) / math.cos(shear_y)
    b = -(a * math.tan(shear_x) + math.sin(angle))
    c = math.sin(angle - shear_y) / math.cos(shear_y)
    d = math.cos(angle) - c * math.tan(shear_x)
    first, second, third, fourth = d / scale, -b / scale, -c / scale, a / scale
    from_x, from_y = center_x + translate[0], center_y + translate[1]
    across = center_x - first * from_x - second * from_y
    down = center_y - third * from_x - fourth * from_y
    return np.array([[first, second, across], [third, fourth, down]])


def warp(image: Image, matrix: Floats, *, interpolation: str, fill: Fill) -> Image:
    """Return the image whose pixels come from where the matrix points.

    Nearest may take the other neighbor where a point lies halfway between two pixels: OpenCV computes it with
    other last bits. That is a pixel in a thousand where the angle is a multiple of 45 degrees, and next to
    none elsewhere.

    Args:
        image: The image.
        matrix: For coordinates (x, y, 1) in pixels from the middle, (2, 3).
        interpolation: nearest or bilinear.
        fill: Value of pixels from outside. None is black, and bilinear then blends border pixels with it only
            once; a fill of 0 is blended a second time through the mask, as torchvision does.
    """
    height, width = image.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    from_corner = matrix.copy()
    from_corner[:, 2] += middle - matrix[:, :2] @ middle
    flags = _INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP
    size = width, height
    # Brought into the cache in order: turned, an image of 256 px that is not there takes three times as long.
    image = image.copy()
    color = (0.0,) if fill is None else fill if isinstance(fill, tuple) else (fill,)
    if interpolation == "nearest" or fill is None:
        border = color * 4 if len(color) == 1 else color
        return as_image(cv2.warpAffine(image, from_corner, size, flags=flags, borderValue=border))
    warped = as_image(cv2.warpAffine(image, from_corner, size, flags=flags))
    inside = cv2.warpAffine(np.ones((height, width), np.float32), from_corner, size, flags=flags)
    is_border = inside < 1
    share, background = inside[is_border][:, None], np.array(color, dtype=np.float32)
    warped[is_border] = np.rint((warped[is_border] - background) * share + background)
    return warped


def as_image(result: MatLike) -> Image:
    """Return what OpenCV made as (height, width, channels): it drops the channels where there is one."""
    return np.asarray(result if result.ndim == 3 else result[..., None], dtype=np.uint8)


def change_some(images: Image, uniforms: Floats, change: Callable[[Image], Image], *, p: float) -> Image:
    """Return images (N, height, width, channels), those changed whose random number (N, 1) is below p."""
    if len(images) == 1:
        return change(images[0])[None] if uniforms[0, 0] < p else images
    changed = images.copy()
    for number in np.flatnonzero(uniforms[:, 0] < p).tolist():
        changed[number] = change(images[number])
    return changed


def adjust_brightness(image: Image, factor: float) -> Image:
    """Multiply by the factor."""
    return as_image(cv2.convertScaleAbs(image, alpha=factor, beta=_TO_FLOOR))


def adjust_contrast(image: Image, factor: float) -> Image:
    """Blend with the image's mean gray; factors above 1 move away from it."""
    (mean, *_) = cv2.mean(to_luma(image))
    return as_image(cv2.addWeighted(image, factor, image, 0, mean * (1 - factor) + _TO_FLOOR))


def adjust_saturation(image: Image, factor: float) -> Image:
    """Blend with the image in gray; factors above 1 move away from it."""
    return image if image.shape[2] == 1 else _blend(image, to_grayscale(image), factor)


def adjust_hue(image: Image, shift: float) -> Image:
    """Shift hues along the color circle, whose length is 1."""
    if image.shape[2] == 1:
        return image
    hsv = np.asarray(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV), dtype=np.float32)
    # Hues above 360 degrees come around again, negative ones do not.
    hsv[..., 0] += 360 * (shift % 1)
    turned = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return as_image(cv2.convertScaleAbs(turned, alpha=(256 - 1e-3) / 255, beta=_TO_FLOOR))


def adjust_sharpness(image: Image, factor: float) -> Image:
    """Blend with the blurred image; factors above 1 move away from it. The border stays as it is."""
    if min(image.shape[:2]) <= 2:
        return image
    kernel = np.ones((3, 3), dtype=np.float32)
    kernel[1, 1] = 5
    blurred = as_image(cv2.filter2D(image, -1, kernel / 13))
    sharpened = image.copy()
    inner = np.s_[1:-1, 1:-1]
    sharpened[inner] = _blend(image[inner], blurred[inner], factor)
    return sharpened


def to_grayscale(image: Image) -> Image:
    """Convert to gray; the number of channels stays."""
    return image if image.shape[2] == 1 else as_image(cv2.cvtColor(to_luma(image), cv2.COLOR_GRAY2RGB))


def to_luma(image: Image) -> Image:
    """Return the luma of every pixel, uint8 (height, width, 1), rounded down."""
    if image.shape[2] == 1:
        return image
    # Of floats: for bytes OpenCV takes three times as long.
    luma = cv2.transform(image.astype(np.float32), _LUMA)
    return as_image(cv2.convertScaleAbs(luma, beta=_TO_FLOOR))


def posterize(image: Image, num_bits: int) -> Image:
    """Keep only the highest bits."""
    return image & np.uint8(0xFF00 >> num_bits & 0xFF)


def solarize(image: Image, threshold: float) -> Image:
    """Invert the values from the threshold on."""
    levels = np.arange(256)
    return _look_up(image, np.where(levels >= threshold, 255 - levels, levels)[:, None])


def autocontrast(image: Image) -> Image:
    """Stretch every channel to 0..255; a channel of one value stays."""
    levels = np.arange(256, dtype=np.float32)
    tables = []
    for channel in cv2.split(image):
        low, high, *_ = cv2.minMaxLoc(channel)
        scale = np.float32(high - low) * np.float32(1 / 255)
        tables.append(levels if low == high else ((levels - np.float32(low)) / scale).clip(0, 255))
    return _look_up(image, np.stack(tables, axis=1))


def equalize(image: Image) -> Image:
    """Equalize the histogram of every channel."""
    tables = []
    for channel in range(image.shape[2]):
        counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
        num_brightest = counts[np.flatnonzero(counts)[-1]]
        step = (counts.sum() - num_brightest) // 255
        below = counts.cumsum() - counts
        even = ((below + step // 2) // step).clip(0, 255) if step else np.arange(256)
        tables.append(even)
    return _look_up(image, np.stack(tables, axis=1))


def gaussian_blur(image: Image, sigma: float, *, kernel_size: tuple[int, int]) -> Image:
    """Blur with a Gaussian of standard deviation sigma in pixels and a kernel [across, down] of odd sides."""
    across, down = (cv2.getGaussianKernel(side, sigma) for side in kernel_size)
    # Not cv2.GaussianBlur, whose weights are multiples of 1/256.
    return as_image(cv2.sepFilter2D(image, -1, across, down, borderType=cv2.BORDER_REFLECT_101))


def _blend(image: Image, other: Image, factor: float) -> Image:
    """Return image * factor + other * (1 - factor)."""
    return as_image(cv2.addWeighted(image, factor, other, 1 - factor, _TO_FLOOR))


def _look_up(image: Image, table: npt.NDArray[Any]) -> Image:
    """Return every value's entry in a table (256, channels), or (256, 1) for all channels."""
    return as_image(cv2.LUT(image, table.astype(np.uint8)[None]))
