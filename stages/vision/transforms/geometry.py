"""Crops, resizing and flips of whole batches."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        source = images.permute(0, 2, 3, 1).numpy()
        num, height, width, channels = source.shape
        top, bottom, left, right = self._top, self._bottom, self._left, self._right
        new_height = height if self._height_px == "image" else self._height_px
        new_width = width if self._width_px == "image" else self._width_px
        if self._pad_if_needed:
            missing_rows = max(0, new_height - height - top - bottom)
            missing_columns = max(0, new_width - width - left - right)
            top, bottom = top + missing_rows, bottom + missing_rows
            left, right = left + missing_columns, right + missing_columns
        num_positions = torch.tensor(
            [height + top + bottom - new_height + 1, width + left + right - new_width + 1]
        )
        corners = (uniforms * num_positions).long()
        if self._padding_mode != "constant":
            sides = ((0, 0), (top, bottom), (left, right), (0, 0))
            source = np.pad(source, sides, mode=_NUMPY_MODES[self._padding_mode])
            top = left = 0
        target = np.empty((num, new_height, new_width, channels), dtype=source.dtype)
        target[:] = np.asarray(self._fill).astype(source.dtype)
        # Constant padding is never made: the target starts as fill, and the part of each window that lies on
        # the image is copied over it. Six times as fast as padding and gathering.
        shifts = corners - torch.tensor([top, left])
        for image, (down, across) in enumerate(shifts.tolist()):
            to_rows, from_rows = _overlap(down, source.shape[1], new_height)
            to_columns, from_columns = _overlap(across, source.shape[2], new_width)
            target[image, to_rows, to_columns] = source[image, from_rows, from_columns]
        return torch.from_numpy(target).permute(0, 3, 1, 2)


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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        height, width = images.shape[2:]
        new_height = height if self._height_px == "image" else self._height_px
        new_width = width if self._width_px == "image" else self._width_px
        windows = self.choose_windows(uniforms, height=height, width=width)
        resized = [
            _resize(
                images[index : index + 1, :, top : top + rows, left : left + columns],
                height_px=new_height,
                width_px=new_width,
                interpolation=self._interpolation,
                antialias=self._antialias,
            )
            for index, (top, left, rows, columns) in enumerate(windows.tolist())
        ]
        return torch.cat(resized).contiguous(memory_format=torch.channels_last)

    def choose_windows(self, uniforms: Tensor, *, height: int, width: int) -> Tensor:
        """Choose windows as torchvision does: the first of ten tries that fits, or the largest one.

        Returns:
            Top, left, height and width, int64 (N, 4).
        """
        low, high = math.log(self._ratio[0]), math.log(self._ratio[1])
        areas = height * width * (self._scale[0] + uniforms[:, 0:-2:2] * (self._scale[1] - self._scale[0]))
        ratios = (low + uniforms[:, 1:-2:2] * (high - low)).exp()
        columns, rows = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (columns > 0) & (columns <= width) & (rows > 0) & (rows <= height)
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
        found = fits.any(dim=1)
        fallback_rows, fallback_columns = self._choose_fallback(height, width)
        sides = torch.stack(
            [
                torch.where(found, rows.gather(1, first).squeeze(1), fallback_rows),
                torch.where(found, columns.gather(1, first).squeeze(1), fallback_columns),
            ],
            dim=1,
        )
        free = torch.tensor([height, width]) - sides
        corners = torch.where(found[:, None], (uniforms[:, -2:] * (free + 1)).floor(), (free / 2).floor())
        return torch.cat([corners, sides], dim=1).long()

    def _choose_fallback(self, height: int, width: int) -> tuple[float, float]:
        """Return height and width of the largest window with an allowed aspect ratio."""
        if width / height < self._ratio[0]:
            return float(round(width / self._ratio[0])), float(width)
        if width / height > self._ratio[1]:
            return float(height), float(round(height * self._ratio[1]))
        return float(height), float(width)


class Resize:
    """Resize to a fixed height and width."""

    num_uniforms = 0

    def __init__(
        self, *, height_px: int, width_px: int, interpolation: str = "bilinear", antialias: bool = True
    ) -> None:
        self._height_px, self._width_px = height_px, width_px
        self._interpolation, self._antialias = interpolation, antialias

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return _resize(
            images,
            height_px=self._height_px,
            width_px=self._width_px,
            interpolation=self._interpolation,
            antialias=self._antialias,
        )


def _resize(images: Tensor, *, height_px: int, width_px: int, interpolation: str, antialias: bool) -> Tensor:
    if images.shape[2:] == (height_px, width_px):
        return images
    return functional.interpolate(
        images,
        size=(height_px, width_px),
        mode=interpolation,
        align_corners=False if interpolation == "bilinear" else None,
        antialias=antialias and interpolation == "bilinear",
    )


class CenterCrop:
    """Cut out the middle; a smaller image is padded with black."""

    num_uniforms = 0

    def __init__(self, *, height_px: int, width_px: int) -> None:
        self._height_px, self._width_px = height_px, width_px

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        height, width = images.shape[2:]
        missing = max(0, self._height_px - height), max(0, self._width_px - width)
        if any(missing):
            top, left = missing[0] // 2, missing[1] // 2
            images = functional.pad(images, (left, missing[1] - left, top, missing[0] - top))
            height, width = images.shape[2:]
        # Python rounds halves to even, as torchvision does.
        top, left = round((height - self._height_px) / 2), round((width - self._width_px) / 2)
        return images[:, :, top : top + self._height_px, left : left + self._width_px]


class AlternatingHorizontalFlip:
    """Flip left and right in every other epoch; a random half of the images starts flipped.

    Source: Jordan 2024, arXiv:2404.00498, section 3.6.
    """

    num_uniforms = 1
    is_alternating = True

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return _flip(images, uniforms[:, 0] < 0.5, dim=3)


class RandomHorizontalFlip:
    """Flip left and right with probability p."""

    num_uniforms = 1

    def __init__(self, *, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return _flip(images, uniforms[:, 0] < self._p, dim=3)


class RandomVerticalFlip:
    """Flip top and bottom with probability p."""

    num_uniforms = 1

    def __init__(self, *, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return _flip(images, uniforms[:, 0] < self._p, dim=2)


def _flip(images: Tensor, is_chosen: Tensor, *, dim: int) -> Tensor:
    chosen = is_chosen.nonzero().squeeze(1)
    flipped = images.clone()
    flipped[chosen] = images[chosen].flip(dim)
    return flipped
