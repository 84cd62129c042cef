"""Random augmentations: rotation, affine maps, colors, blur, TrivialAugment.

Pixels are those of torchvision.transforms.v2 for the same amounts; `functional.py` computes them for a whole
batch at once, each image by its own amount.
"""

import torch
from torch import Tensor

from stages.vision.transforms import functional
from stages.vision.transforms.functional import Fill

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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        matrices = functional.invert_affine(
            -_scale_to(uniforms[:, 0], self._degrees), center=_from_middle(self._center, images)
        )
        return functional.warp(images, matrices, interpolation=self._interpolation, fill=self._fill)


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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        height, width = images.shape[2:]
        most = torch.tensor([self._translate[0] * width, self._translate[1] * height], dtype=torch.float64)
        matrices = functional.invert_affine(
            _scale_to(uniforms[:, 0], self._degrees),
            center=_from_middle(self._center, images),
            translate=((2 * uniforms[:, 1:3] - 1) * most).round(),
            scale=_scale_to(uniforms[:, 3], self._scale),
            shear=torch.stack(
                [
                    _scale_to(uniforms[:, 4], (self._shears[0], self._shears[1])),
                    _scale_to(uniforms[:, 5], (self._shears[2], self._shears[3])),
                ],
                dim=1,
            ),
        )
        return functional.warp(images, matrices, interpolation=self._interpolation, fill=self._fill)


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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        order = uniforms[:, 4:].argsort(dim=1)
        changed = images.clone()
        # All images whose next change is the same are changed together.
        for turn in range(4):
            for change, limits in enumerate(self._limits):
                if limits == ((0.0, 0.0) if change == 3 else (1.0, 1.0)):
                    continue
                chosen = (order[:, turn] == change).nonzero().squeeze(1)
                if len(chosen):
                    amounts = _scale_to(uniforms[chosen, change], limits)
                    changed[chosen] = _CHANGES[change](changed[chosen], amounts)
        return changed


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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        chosen = (uniforms[:, 0] < self._p).nonzero().squeeze(1)
        changed = images.clone()
        changed[chosen] = functional.to_grayscale(images[chosen])
        return changed


class GaussianBlur:
    """Blur with a Gaussian of random standard deviation; the border is padded by reflection."""

    num_uniforms = 1

    def __init__(
        self, *, kernel_size: int | tuple[int, int], sigma: float | tuple[float, float] = (0.1, 2.0)
    ) -> None:
        self._kernel_size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        self._sigma = sigma if isinstance(sigma, tuple) else (sigma, sigma)

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        sigmas = _scale_to(uniforms[:, 0], self._sigma)
        return functional.gaussian_blur(images, sigmas, kernel_size=self._kernel_size)


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
_SHEARS = ("ShearX", "ShearY")


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

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        operations = (uniforms[:, 0] * len(OPERATIONS)).long()
        bins = (uniforms[:, 1] * self._num_bins).long()
        signs = torch.where(uniforms[:, 2] <= 0.5, -1.0, 1.0)
        changed = images.clone()
        for index, operation in enumerate(OPERATIONS):
            chosen = (operations == index).nonzero().squeeze(1)
            if len(chosen) and operation != "Identity":
                changed[chosen] = self._apply(images[chosen], operation, bins[chosen], signs[chosen])
        return changed

    def _apply(self, images: Tensor, operation: str, bins: Tensor, signs: Tensor) -> Tensor:
        strongest = _STRONGEST.get(operation, 0.99)
        strengths = torch.linspace(0, strongest, self._num_bins)[bins].double() * signs
        match operation:
            case "Brightness":
                return functional.adjust_brightness(images, 1 + strengths)
            case "Color":
                return functional.adjust_saturation(images, 1 + strengths)
            case "Contrast":
                return functional.adjust_contrast(images, 1 + strengths)
            case "Sharpness":
                return functional.adjust_sharpness(images, 1 + strengths)
            case "Posterize":
                return functional.posterize(images, (8 - bins / ((self._num_bins - 1) / 6)).round())
            case "Solarize":
                thresholds = 255 * torch.linspace(1, 0, self._num_bins)[bins].double()
                return functional.solarize(images, thresholds)
            case "AutoContrast":
                return functional.autocontrast(images)
            case "Equalize":
                return functional.equalize(images)
            case _:
                return self._move(images, operation, strengths)

    def _move(self, images: Tensor, operation: str, strengths: Tensor) -> Tensor:
        """Shear around the upper left corner, shift by whole pixels, or rotate counter-clockwise."""
        amounts = torch.zeros(len(images), 2, dtype=torch.float64)
        if operation == "Rotate":
            matrices = functional.invert_affine(-strengths)
        elif operation in _SHEARS:
            height, width = images.shape[2:]
            amounts[:, _SHEARS.index(operation)] = strengths.atan().rad2deg()
            center = -width * 0.5, -height * 0.5
            matrices = functional.invert_affine(torch.zeros_like(strengths), center=center, shear=amounts)
        else:
            amounts[:, ("TranslateX", "TranslateY").index(operation)] = strengths.trunc()
            matrices = functional.invert_affine(torch.zeros_like(strengths), translate=amounts)
        return functional.warp(images, matrices, interpolation=self._interpolation, fill=self._fill)


def _scale_to(uniforms: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return random numbers in [0, 1) as numbers between two limits."""
    return limits[0] + uniforms * (limits[1] - limits[0])


def _expand_range(value: _Range, *, center: float = 0.0) -> tuple[float, float]:
    """Return the limits that an argument stands for: center - value to center + value, or the two given."""
    return value if isinstance(value, tuple) else (center - value, center + value)


def _expand_factors(value: _Range) -> tuple[float, float]:
    low, high = _expand_range(value, center=1.0)
    return max(0.0, low), high


def _from_middle(center: tuple[float, float] | None, images: Tensor) -> tuple[float, float]:
    """Return a point measured from the middle of the images instead of their upper left corner."""
    if center is None:
        return 0.0, 0.0
    height, width = images.shape[2:]
    return center[0] - width * 0.5, center[1] - height * 0.5
