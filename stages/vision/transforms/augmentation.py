"""Random augmentations of one image: rotation, affine maps, colors, blur, TrivialAugment.

Pixels are those of torchvision.transforms.v2 for the same amounts; `functional.py` computes them.
"""

import math
from collections.abc import Sequence

import torch

from stages.vision.transforms import functional
from stages.vision.transforms.functional import Fill, Floats, Image

_Range = float | tuple[float, float]


class RandomRotation:
    """Rotate counter-clockwise by a random angle."""

    num_uniforms = 1

    def __init__(
        self,
        *,
        degrees: _Range,
        interpolation: str = "nearest",
        center: tuple[float, float] | None = None,
        fill: float | tuple[float, ...] = 0.0,
    ) -> None:
        self._degrees = _expand_range(degrees)
        self._interpolation, self._center, self._fill = interpolation, center, fill

    def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
        angle = _scale_to(numbers[0], self._degrees)
        matrix = functional.invert_affine(-angle, center=_from_middle(self._center, image))
        return functional.warp(image, matrix, interpolation=self._interpolation, fill=self._fill)


class RandomAffine:
    """Rotate clockwise, shift, scale and shear by random amounts."""

    num_uniforms = 6
    """Angle, shift across and down, scale, shear across and down."""

    def __init__(
        self,
        *,
        degrees: _Range,
        translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        shear: float | tuple[float, ...] | None = None,
        interpolation: str = "nearest",
        fill: float | tuple[float, ...] = 0.0,
        center: tuple[float, float] | None = None,
    ) -> None:
        self._degrees = _expand_range(degrees)
        self._translate = (0.0, 0.0) if translate is None else translate
        self._scale = (1.0, 1.0) if scale is None else scale
        shears = (0.0, 0.0) if shear is None else shear if isinstance(shear, tuple) else (-shear, shear)
        self._shears = shears if len(shears) == 4 else (*shears, 0.0, 0.0)
        self._interpolation, self._fill, self._center = interpolation, fill, center

    def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
        angle, across, down, scale, shear_x, shear_y = numbers
        height, width = image.shape[:2]
        matrix = functional.invert_affine(
            _scale_to(angle, self._degrees),
            center=_from_middle(self._center, image),
            translate=(
                round((2 * across - 1) * self._translate[0] * width),
                round((2 * down - 1) * self._translate[1] * height),
            ),
            scale=_scale_to(scale, self._scale),
            shear=(
                _scale_to(shear_x, (self._shears[0], self._shears[1])),
                _scale_to(shear_y, (self._shears[2], self._shears[3])),
            ),
        )
        return functional.warp(image, matrix, interpolation=self._interpolation, fill=self._fill)


class ColorJitter:
    """Change brightness, contrast, saturation and hue by random amounts, in random order."""

    num_uniforms = 8
    """The four amounts, then four numbers whose sorting order is the order of the changes."""

    def __init__(
        self, *, brightness: _Range = 0.0, contrast: _Range = 0.0, saturation: _Range = 0.0, hue: _Range = 0.0
    ) -> None:
        self._limits = [
            *(_expand_factors(value) for value in (brightness, contrast, saturation)),
            _expand_range(hue),
        ]
        self._changes = [
            change
            for change, limits in enumerate(self._limits)
            if limits != ((0.0, 0.0) if change == 3 else (1.0, 1.0))
        ]

    def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
        for change in sorted(self._changes, key=lambda change: numbers[4 + change]):
            image = _CHANGES[change](image, _scale_to(numbers[change], self._limits[change]))
        return image


_CHANGES = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


class RandomGrayscale:
    """Convert to gray with probability p; the number of channels stays."""

    num_uniforms = 1

    def __init__(self, *, p: float = 0.1) -> None:
        self._p = p

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        return functional.change_some(images, uniforms, functional.to_grayscale, p=self._p)


class GaussianBlur:
    """Blur with a Gaussian of random standard deviation; the border is padded by reflection."""

    num_uniforms = 1

    def __init__(
        self, *, kernel_size: int | tuple[int, int], sigma: float | tuple[float, float] = (0.1, 2.0)
    ) -> None:
        self._kernel_size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        self._sigma = sigma if isinstance(sigma, tuple) else (sigma, sigma)

    def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
        sigma = _scale_to(numbers[0], self._sigma)
        return functional.gaussian_blur(image, sigma, kernel_size=self._kernel_size)


OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
"""TrivialAugment's operations, in torchvision's order."""

_STRONGEST = {"TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}


class TrivialAugmentWide:
    """Apply one of 14 operations to each image, at random strength.

    Source: Müller and Hutter 2021, arXiv:2103.10158.
    """

    num_uniforms = 3
    """Operation, strength, sign."""

    def __init__(
        self, *, num_magnitude_bins: int = 31, interpolation: str = "nearest", fill: Fill = None
    ) -> None:
        self._num_bins = num_magnitude_bins
        self._interpolation, self._fill = interpolation, fill
        # By torch, as torchvision does: a last bit decides how many whole pixels a shift has.
        self._strengths = {
            name: torch.linspace(0.0, _STRONGEST.get(name, 0.99), num_magnitude_bins).tolist()
            for name in OPERATIONS
        }
        self._thresholds = (255 * torch.linspace(1.0, 0.0, num_magnitude_bins)).tolist()

    def __call__(self, image: Image, numbers: Sequence[float]) -> Image:
        operation = OPERATIONS[int(numbers[0] * len(OPERATIONS))]
        place = int(numbers[1] * self._num_bins)
        strength = self._strengths[operation][place] * (-1 if numbers[2] <= 0.5 else 1)
        match operation:
            case "Identity":
                return image
            case "Brightness":
                return functional.adjust_brightness(image, 1 + strength)
            case "Color":
                return functional.adjust_saturation(image, 1 + strength)
            case "Contrast":
                return functional.adjust_contrast(image, 1 + strength)
            case "Sharpness":
                return functional.adjust_sharpness(image, 1 + strength)
            case "Posterize":
                return functional.posterize(image, round(8 - place / ((self._num_bins - 1) / 6)))
            case "Solarize":
                return functional.solarize(image, self._thresholds[place])
            case "AutoContrast":
                return functional.autocontrast(image)
            case "Equalize":
                return functional.equalize(image)
            case _:
                return self._move(image, operation, strength)

    def _move(self, image: Image, operation: str, strength: float) -> Image:
        """Shear around the upper left corner, shift by whole pixels, or rotate counter-clockwise."""
        height, width = image.shape[:2]
        corner, angle, shift = (-width * 0.5, -height * 0.5), math.degrees(math.atan(strength)), int(strength)
        match operation:
            case "Rotate":
                matrix = functional.invert_affine(-strength)
            case "ShearX":
                matrix = functional.invert_affine(0.0, center=corner, shear=(angle, 0.0))
            case "ShearY":
                matrix = functional.invert_affine(0.0, center=corner, shear=(0.0, angle))
            case "TranslateX":
                matrix = functional.invert_affine(0.0, translate=(shift, 0))
            case _:
                matrix = functional.invert_affine(0.0, translate=(0, shift))
        return functional.warp(image, matrix, interpolation=self._interpolation, fill=self._fill)


def _scale_to(number: float, limits: tuple[float, float]) -> float:
    """Return a random number in [0, 1) as a number between two limits."""
    return limits[0] + number * (limits[1] - limits[0])


def _expand_range(value: _Range, *, center: float = 0.0) -> tuple[float, float]:
    """Return the limits that an argument stands for: center - value to center + value, or the two given."""
    return value if isinstance(value, tuple) else (center - value, center + value)


def _expand_factors(value: _Range) -> tuple[float, float]:
    low, high = _expand_range(value, center=1.0)
    return max(0.0, low), high


def _from_middle(center: tuple[float, float] | None, image: Image) -> tuple[float, float]:
    """Return a point measured from the middle of the image instead of its upper left corner."""
    if center is None:
        return 0.0, 0.0
    height, width = image.shape[:2]
    return center[0] - width * 0.5, center[1] - height * 0.5
