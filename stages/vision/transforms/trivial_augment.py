"""TrivialAugment."""

import torch
from torch import Tensor

from stages.vision.transforms import pixels
from stages.vision.transforms.affine import Fill, invert_affine, warp

WAYS = (
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
_STRONGEST = {"TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}
_SHEARED = ("ShearX", "ShearY")


class TrivialAugmentWide:
    """Change each image by one of 14 ways, at random strength.

    Source: Müller and Hutter 2021, arXiv:2103.10158.
    """

    num_draws = 3
    """Way, strength, sign."""

    def __init__(
        self,
        *,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill | str = "none",
    ) -> None:
        self._num_bins = num_magnitude_bins
        self._interpolation = interpolation
        self._fill: Fill = None if isinstance(fill, str) else fill

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        ways = (draws[:, 0] * len(WAYS)).long()
        bins = (draws[:, 1] * self._num_bins).long()
        signs = torch.where(draws[:, 2] <= 0.5, -1.0, 1.0)
        changed = images.clone()
        for place, way in enumerate(WAYS):
            chosen = (ways == place).nonzero().squeeze(1)
            if len(chosen) and way != "Identity":
                changed[chosen] = self._change(images[chosen], way, bins[chosen], signs[chosen])
        return changed

    def _change(self, images: Tensor, way: str, bins: Tensor, signs: Tensor) -> Tensor:
        strengths = torch.linspace(0, _STRONGEST.get(way, 0.99), self._num_bins)[bins].double() * signs
        match way:
            case "Brightness":
                return pixels.adjust_brightness(images, 1 + strengths)
            case "Color":
                return pixels.adjust_saturation(images, 1 + strengths)
            case "Contrast":
                return pixels.adjust_contrast(images, 1 + strengths)
            case "Sharpness":
                return pixels.adjust_sharpness(images, 1 + strengths)
            case "Posterize":
                return pixels.posterize(images, (8 - bins / ((self._num_bins - 1) / 6)).round())
            case "Solarize":
                return pixels.solarize(images, 255 * torch.linspace(1, 0, self._num_bins)[bins].double())
            case "AutoContrast":
                return pixels.stretch_contrast(images)
            case "Equalize":
                return pixels.equalize(images)
            case _:
                return self._move(images, way, strengths)

    def _move(self, images: Tensor, way: str, strengths: Tensor) -> Tensor:
        """Shear around the upper left corner, shift by whole pixels, or turn counter-clockwise."""
        amounts = torch.zeros(len(images), 2, dtype=torch.float64)
        if way == "Rotate":
            matrices = invert_affine(-strengths)
        elif way in _SHEARED:
            height, width = images.shape[2:]
            amounts[:, _SHEARED.index(way)] = strengths.atan().rad2deg()
            center = -width * 0.5, -height * 0.5
            matrices = invert_affine(torch.zeros_like(strengths), center=center, shear=amounts)
        else:
            amounts[:, ("TranslateX", "TranslateY").index(way)] = strengths.trunc()
            matrices = invert_affine(torch.zeros_like(strengths), translate=amounts)
        return warp(images, matrices, interpolation=self._interpolation, fill=self._fill)
