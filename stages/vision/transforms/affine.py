"""Turning, shifting, scaling and shearing."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from stages.vision.transforms.compose import around, stretch

Fill = float | tuple[float, ...] | None
_Range = float | tuple[float, float]


class RandomRotation:
    """Turn counter-clockwise by an angle between two limits."""

    num_draws = 1

    def __init__(
        self,
        *,
        degrees: _Range,
        interpolation: str = "nearest",
        center: tuple[float, float] | Literal["none"] = "none",
        fill: float | tuple[float, ...] = 0.0,
    ) -> None:
        self._degrees = around(degrees)
        self._interpolation, self._center, self._fill = interpolation, center, fill

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        matrices = invert_affine(
            -stretch(draws[:, 0], self._degrees), center=move_center(self._center, images)
        )
        return warp(images, matrices, interpolation=self._interpolation, fill=self._fill)


class RandomAffine:
    """Turn clockwise, shift, scale and shear by amounts between limits."""

    num_draws = 6
    """Angle, shift across and down, factor, shear across and down."""

    def __init__(
        self,
        *,
        degrees: _Range,
        translate: tuple[float, float] | Literal["none"] = "none",
        scale: tuple[float, float] | Literal["none"] = "none",
        shear: float | tuple[float, ...] | Literal["none"] = "none",
        interpolation: str = "nearest",
        fill: float | tuple[float, ...] = 0.0,
        center: tuple[float, float] | Literal["none"] = "none",
    ) -> None:
        self._degrees = around(degrees)
        self._translate = (0.0, 0.0) if translate == "none" else translate
        self._scale = (1.0, 1.0) if scale == "none" else scale
        shears = (0.0, 0.0) if shear == "none" else shear if isinstance(shear, tuple) else (-shear, shear)
        self._shears = shears if len(shears) == 4 else (*shears, 0.0, 0.0)
        self._interpolation, self._fill, self._center = interpolation, fill, center

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[2:]
        most = torch.tensor([self._translate[0] * width, self._translate[1] * height], dtype=torch.float64)
        matrices = invert_affine(
            stretch(draws[:, 0], self._degrees),
            center=move_center(self._center, images),
            translate=((2 * draws[:, 1:3] - 1) * most).round(),
            scale=stretch(draws[:, 3], self._scale),
            shear=torch.stack(
                [
                    stretch(draws[:, 4], (self._shears[0], self._shears[1])),
                    stretch(draws[:, 5], (self._shears[2], self._shears[3])),
                ],
                dim=1,
            ),
        )
        return warp(images, matrices, interpolation=self._interpolation, fill=self._fill)


def move_center(center: tuple[float, float] | Literal["none"], images: Tensor) -> tuple[float, float]:
    """Return a point counted from the middle of the images instead of their upper left corner."""
    if center == "none":
        return 0.0, 0.0
    height, width = images.shape[2:]
    return center[0] - width * 0.5, center[1] - height * 0.5


def invert_affine(
    degrees: Tensor,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    translate: Tensor | None = None,
    scale: Tensor | None = None,
    shear: Tensor | None = None,
) -> Tensor:
    """Return where in the old image each pixel of the new one comes from, as matrices (N, 2, 3) of float64.

    Args:
        degrees: float64 (N,), angles clockwise.
        center: Point (x, y) that turning, scaling and shearing leave in place, in pixels from the middle.
        translate: float64 (N, 2), pixels across and down.
        scale: float64 (N,).
        shear: float64 (N, 2), angles across and down in degrees.
    """
    zeros = torch.zeros(len(degrees), 2, dtype=torch.float64)
    shift_x, shift_y = (zeros if translate is None else translate).unbind(1)
    factor = torch.ones(len(degrees), dtype=torch.float64) if scale is None else scale
    shear_x, shear_y = (zeros if shear is None else shear).deg2rad().unbind(1)
    center_x, center_y = center
    angle = degrees.deg2rad()
    a = torch.cos(angle - shear_y) / torch.cos(shear_y)
    b = -(a * torch.tan(shear_x) + torch.sin(angle))
    c = torch.sin(angle - shear_y) / torch.cos(shear_y)
    d = torch.cos(angle) - c * torch.tan(shear_x)
    first, second, third, fourth = d / factor, -b / factor, -c / factor, a / factor
    from_x, from_y = center_x + shift_x, center_y + shift_y
    across = center_x - first * from_x - second * from_y
    down = center_y - third * from_x - fourth * from_y
    return torch.stack([first, second, across, third, fourth, down], dim=1).view(-1, 2, 3)


def warp(images: Tensor, matrices: Tensor, *, interpolation: str, fill: Fill) -> Tensor:
    """Return images (N, C, H, W) whose pixels come from where the matrices (N, 2, 3) say.

    Args:
        images: uint8 or float32.
        matrices: For coordinates (x, y, 1) in pixels from the middle.
        interpolation: nearest or bilinear.
        fill: What pixels from outside are; None is black, blended but once at the border.
    """
    height, width = images.shape[2:]
    x = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, width)
    y = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, height)[:, None]
    # Divided and added in torchvision's order: half-way between two pixels the last bit decides.
    scaled = matrices.float() / torch.tensor([0.5 * width, 0.5 * height])[:, None]
    of_x, of_y, offset = scaled[:, :, :, None, None].unbind(2)
    grid = (of_x * x + of_y * y + offset).permute(0, 2, 3, 1)
    pixels = images.float()
    if fill is not None:
        inside = torch.ones_like(pixels[:, :1])
        pixels = torch.cat([pixels, inside], dim=1)
    pixels = functional.grid_sample(
        pixels, grid, mode=interpolation, padding_mode="zeros", align_corners=False
    )
    if fill is not None:
        pixels, inside = pixels[:, :-1], pixels[:, -1:]
        color = torch.tensor(fill, dtype=torch.float32).view(-1, 1, 1)
        if interpolation == "nearest":
            pixels = torch.where(inside < 0.5, color, pixels)
        else:
            pixels = (pixels - color) * inside + color
    if images.dtype == torch.uint8:
        pixels = pixels.round().to(torch.uint8)
    return pixels.contiguous(memory_format=torch.channels_last)
