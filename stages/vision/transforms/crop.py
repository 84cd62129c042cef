"""Cutting out a part of each image, and resizing."""

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
    """Pad the sides and cut out a window at a random place."""

    num_draws = 2

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

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        source = images.permute(0, 2, 3, 1).numpy()
        num, height, width, channels = source.shape
        top, bottom, left, right = self._top, self._bottom, self._left, self._right
        new_height = height if self._height_px == "image" else self._height_px
        new_width = width if self._width_px == "image" else self._width_px
        if self._pad_if_needed:
            lacking_rows = max(0, new_height - height - top - bottom)
            lacking_columns = max(0, new_width - width - left - right)
            top, bottom = top + lacking_rows, bottom + lacking_rows
            left, right = left + lacking_columns, right + lacking_columns
        places = torch.tensor([height + top + bottom - new_height + 1, width + left + right - new_width + 1])
        corners = (draws * places).long()
        if self._padding_mode != "constant":
            sides = ((0, 0), (top, bottom), (left, right), (0, 0))
            source = np.pad(source, sides, mode=_NUMPY_MODES[self._padding_mode])
            top = left = 0
        target = np.empty((num, new_height, new_width, channels), dtype=source.dtype)
        target[:] = np.asarray(self._fill).astype(source.dtype)
        # Slices that leave the padding out: six times as fast as padding and gathering.
        shifts = corners - torch.tensor([top, left])
        for image, (down, across) in enumerate(shifts.tolist()):
            to_rows, from_rows = _overlap(down, source.shape[1], new_height)
            to_columns, from_columns = _overlap(across, source.shape[2], new_width)
            target[image, to_rows, to_columns] = source[image, from_rows, from_columns]
        return torch.from_numpy(target).permute(0, 3, 1, 2)


def _overlap(shift: int, length: int, window: int) -> tuple[slice, slice]:
    """Return which part of a window that begins at shift the image fills, and with which part of itself."""
    start, stop = max(0, shift), min(length, shift + window)
    inside = max(0, stop - start)
    return slice(start - shift, start - shift + inside), slice(start, start + inside)


class RandomResizedCrop:
    """Cut out a window of random area and shape at a random place, and bring it to one size."""

    num_draws = 2 * _MAX_TRIES + 2
    """Area and shape of each try, then the place."""

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

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[2:]
        new_height = height if self._height_px == "image" else self._height_px
        new_width = width if self._width_px == "image" else self._width_px
        windows = self.choose_windows(draws, height=height, width=width)
        resized = [
            _resize(
                images[place : place + 1, :, top : top + rows, left : left + columns],
                height_px=new_height,
                width_px=new_width,
                interpolation=self._interpolation,
                antialias=self._antialias,
            )
            for place, (top, left, rows, columns) in enumerate(windows.tolist())
        ]
        return torch.cat(resized).contiguous(memory_format=torch.channels_last)

    def choose_windows(self, draws: Tensor, *, height: int, width: int) -> Tensor:
        """Return int64 (N, 4): top, left, height and width of every window, as torchvision chooses them."""
        low, high = math.log(self._ratio[0]), math.log(self._ratio[1])
        areas = height * width * (self._scale[0] + draws[:, 0:-2:2] * (self._scale[1] - self._scale[0]))
        ratios = (low + draws[:, 1:-2:2] * (high - low)).exp()
        columns, rows = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (columns > 0) & (columns <= width) & (rows > 0) & (rows <= height)
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
        found = fits.any(dim=1)
        rows_left, columns_left = self._choose_whole(height, width)
        sides = torch.stack(
            [
                torch.where(found, rows.gather(1, first).squeeze(1), rows_left),
                torch.where(found, columns.gather(1, first).squeeze(1), columns_left),
            ],
            dim=1,
        )
        free = torch.tensor([height, width]) - sides
        corners = torch.where(found[:, None], (draws[:, -2:] * (free + 1)).floor(), (free / 2).floor())
        return torch.cat([corners, sides], dim=1).long()

    def _choose_whole(self, height: int, width: int) -> tuple[float, float]:
        """Return height and width of the largest window whose shape is allowed, for where no try fits."""
        if width / height < self._ratio[0]:
            return float(round(width / self._ratio[0])), float(width)
        if width / height > self._ratio[1]:
            return float(height), float(round(height * self._ratio[1]))
        return float(height), float(width)


class Resize:
    """Bring the images to one size."""

    num_draws = 0

    def __init__(
        self, *, height_px: int, width_px: int, interpolation: str = "bilinear", antialias: bool = True
    ) -> None:
        self._height_px, self._width_px = height_px, width_px
        self._interpolation, self._antialias = interpolation, antialias

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
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

    num_draws = 0

    def __init__(self, *, height_px: int, width_px: int) -> None:
        self._height_px, self._width_px = height_px, width_px

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[2:]
        lacking = max(0, self._height_px - height), max(0, self._width_px - width)
        if any(lacking):
            top, left = lacking[0] // 2, lacking[1] // 2
            images = functional.pad(images, (left, lacking[1] - left, top, lacking[0] - top))
            height, width = images.shape[2:]
        # Python rounds halves to the even number, as torchvision does.
        top, left = round((height - self._height_px) / 2), round((width - self._width_px) / 2)
        return images[:, :, top : top + self._height_px, left : left + self._width_px]
