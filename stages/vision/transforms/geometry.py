"""Crops, resizing and flips.

Most of them take a block of images (N, height, width, channels) at once, which is shorter, and faster where
images are small.
"""

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch

from stages.vision.transforms.functional import Floats, Image, as_image, change_some

_MAX_TRIES = 10
_NUMPY_MODES: dict[str, Literal["edge", "reflect", "symmetric"]] = {
    "edge": "edge",
    "reflect": "reflect",
    "symmetric": "symmetric",
}


class RandomCrop:
    """Pad the sides and cut out a window at a random position."""

    num_uniforms = 2
    """Row and column of the window."""

    def __init__(
        self,
        *,
        padding: int | tuple[int, ...],
        height_px: int | Literal["image"] = "image",
        width_px: int | Literal["image"] = "image",
        pad_if_needed: bool = False,
        fill: float | tuple[float, ...] = 0.0,
        padding_mode: str = "constant",
    ) -> None:
        sides = (padding,) * 4 if isinstance(padding, int) else padding
        self._left, self._top, self._right, self._bottom = sides if len(sides) == 4 else sides * 2
        self._height_px, self._width_px = height_px, width_px
        self._pad_if_needed = pad_if_needed
        self._fill = fill
        self._padding_mode = padding_mode

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        num, height, width, channels = images.shape
        top, bottom, left, right = self._top, self._bottom, self._left, self._right
        new_height, new_width = _resolve(self._height_px, height), _resolve(self._width_px, width)
        if self._pad_if_needed:
            missing_rows = max(0, new_height - height - top - bottom)
            missing_columns = max(0, new_width - width - left - right)
            top, bottom = top + missing_rows, bottom + missing_rows
            left, right = left + missing_columns, right + missing_columns
        num_positions = height + top + bottom - new_height + 1, width + left + right - new_width + 1
        corners = (uniforms * num_positions).astype(np.int64)
        if self._padding_mode != "constant":
            sides = ((0, 0), (top, bottom), (left, right), (0, 0))
            images = np.pad(images, sides, mode=_NUMPY_MODES[self._padding_mode])
            top = left = 0
        target = np.empty((num, new_height, new_width, channels), dtype=np.uint8)
        target[:] = np.asarray(self._fill).astype(np.uint8)
        # Constant padding is never made: the target starts as fill, and the part of each window that lies on
        # the image is copied over it. Six times as fast as padding and gathering.
        for image, (down, across) in enumerate((corners - (top, left)).tolist()):
            to_rows, from_rows = _overlap(down, images.shape[1], new_height)
            to_columns, from_columns = _overlap(across, images.shape[2], new_width)
            target[image, to_rows, to_columns] = images[image, from_rows, from_columns]
        return target


def _resolve(side_px: int | Literal["image"], image_px: int) -> int:
    return image_px if side_px == "image" else side_px


def _overlap(shift: int, length: int, window: int) -> tuple[slice, slice]:
    """Return where a window starting at `shift` overlaps the image, in window and in image coordinates."""
    start, stop = max(0, shift), min(length, shift + window)
    inside = max(0, stop - start)
    return slice(start - shift, start - shift + inside), slice(start, start + inside)


class RandomResizedCrop:
    """Cut out a window of random area and aspect ratio at a random position, and resize it."""

    num_uniforms = 2 * _MAX_TRIES + 2
    """Area and shape of each try, then row and column."""

    def __init__(
        self,
        *,
        height_px: int | Literal["image"] = "image",
        width_px: int | Literal["image"] = "image",
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (0.75, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool = True,
    ) -> None:
        self._height_px, self._width_px = height_px, width_px
        self._scale, self._ratio = scale, ratio
        self._interpolation, self._antialias = interpolation, antialias

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        num, height, width, channels = images.shape
        new_height, new_width = _resolve(self._height_px, height), _resolve(self._width_px, width)
        resized = np.empty((num, new_height, new_width, channels), dtype=np.uint8)
        for image, numbers, target in zip(images, uniforms.tolist(), resized, strict=True):
            top, left, rows, columns = self.choose_window(numbers, height=height, width=width)
            window = image[top : top + rows, left : left + columns]
            if self._interpolation == "bilinear" and rows <= new_height and columns <= new_width:
                # A gray level off in a quarter of the pixels, in four fifths of the time; at 32 px a fifth.
                cv2.resize(window, (new_width, new_height), dst=target, interpolation=cv2.INTER_LINEAR)
            else:
                _resize(
                    window[None], target[None], interpolation=self._interpolation, antialias=self._antialias
                )
        return resized

    def choose_window(
        self, numbers: Sequence[float], *, height: int, width: int
    ) -> tuple[int, int, int, int]:
        """Choose top, left, height and width as torchvision does: the first of ten tries that fits.

        If none does, it is the largest window with an allowed aspect ratio, in the middle.
        """
        low, high = math.log(self._ratio[0]), math.log(self._ratio[1])
        for area_number, ratio_number in zip(numbers[0:-2:2], numbers[1:-2:2], strict=True):
            area = height * width * (self._scale[0] + area_number * (self._scale[1] - self._scale[0]))
            ratio = math.exp(low + ratio_number * (high - low))
            columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < columns <= width and 0 < rows <= height:
                down, across = numbers[-2:]
                return int(down * (height - rows + 1)), int(across * (width - columns + 1)), rows, columns
        rows, columns = height, width
        if width / height < self._ratio[0]:
            rows = round(width / self._ratio[0])
        elif width / height > self._ratio[1]:
            columns = round(height * self._ratio[1])
        return (height - rows) // 2, (width - columns) // 2, rows, columns


class Resize:
    """Resize to a fixed height and width."""

    num_uniforms = 0

    def __init__(
        self, *, height_px: int, width_px: int, interpolation: str = "bilinear", antialias: bool = True
    ) -> None:
        self._height_px, self._width_px = height_px, width_px
        self._interpolation, self._antialias = interpolation, antialias

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        resized = np.empty((len(images), self._height_px, self._width_px, images.shape[3]), dtype=np.uint8)
        _resize(images, resized, interpolation=self._interpolation, antialias=self._antialias)
        return resized


def _resize(images: Image, resized: Image, *, interpolation: str, antialias: bool) -> None:
    """Resize images (N, H, W, C) by torchvision's own code: OpenCV has no antialiased bilinear interpolation.

    Args:
        images: uint8 (N, H, W, C).
        resized: uint8 (N, H', W', C), where they are written.
        interpolation: nearest or bilinear.
        antialias: Average over all pixels that fall into one.
    """
    source, target = (torch.from_numpy(each).permute(0, 3, 1, 2) for each in (images, resized))
    size = list(target.shape[2:])
    # What torch.nn.functional.interpolate calls, which has no `out` and would copy a single image once more.
    if images.shape == resized.shape:
        target.copy_(source)
    elif interpolation == "nearest":
        torch.ops.aten.upsample_nearest2d.out(source, size, out=target)
    elif antialias:
        torch.ops.aten._upsample_bilinear2d_aa.out(source, size, False, out=target)
    else:
        torch.ops.aten.upsample_bilinear2d.out(source, size, False, out=target)


class CenterCrop:
    """Cut out the middle; a smaller image is padded with black."""

    num_uniforms = 0

    def __init__(self, *, height_px: int, width_px: int) -> None:
        self._height_px, self._width_px = height_px, width_px

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        height, width = images.shape[1:3]
        rows, columns = max(0, self._height_px - height), max(0, self._width_px - width)
        if rows or columns:
            top, left = rows // 2, columns // 2
            images = np.pad(images, ((0, 0), (top, rows - top), (left, columns - left), (0, 0)))
            height, width = images.shape[1:3]
        # Python rounds halves to even, as torchvision does.
        top, left = round((height - self._height_px) / 2), round((width - self._width_px) / 2)
        return images[:, top : top + self._height_px, left : left + self._width_px]


class RandomHorizontalFlip:
    """Flip left and right with probability p."""

    num_uniforms = 1
    _axis = 1

    def __init__(self, *, p: float = 0.5) -> None:
        self._p = p

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        # By OpenCV: NumPy takes forty times as long for a row of pixels.
        return change_some(images, uniforms, lambda image: as_image(cv2.flip(image, self._axis)), p=self._p)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Flip top and bottom with probability p."""

    _axis = 0


class AlternatingHorizontalFlip(RandomHorizontalFlip):
    """Flip left and right in every other epoch; a random half of the images starts flipped.

    Source: Jordan 2024, arXiv:2404.00498, section 3.6.
    """

    is_alternating = True

    def __init__(self) -> None:
        super().__init__(p=0.5)
