"""Transforms that mirror the image."""

from typing import Literal

from schemas.shared.fields import Fraction
from schemas.vision.transforms.base import Transform


class AlternatingHorizontalFlip(Transform):
    """Mirror left and right in every other epoch, a random half of the images in the first.

    No image comes the same way twice running, as it does with RandomHorizontalFlip in half of all epochs; not
    of torchvision. Source: Jordan 2024, arXiv:2404.00498, section 3.6.
    """

    random = True
    name: Literal["AlternatingHorizontalFlip"]


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
