"""Transforms that mirror the image."""

from typing import Literal

from schemas.shared.fields import Fraction
from schemas.vision.transforms.base import Transform


class RandomHorizontalFlip(Transform):
    """Mirror left and right with probability p."""

    random = True
    name: Literal["RandomHorizontalFlip"]
    p: Fraction = 0.5
    """Share of the images that are mirrored."""


class RandomVerticalFlip(Transform):
    """Mirror top and bottom with probability p."""

    random = True
    name: Literal["RandomVerticalFlip"]
    p: Fraction = 0.5
    """Share of the images that are mirrored."""
