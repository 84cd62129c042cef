"""Transforms that mix the images of a batch, and their labels with them."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction
from schemas.vision.transforms.base import Transform

_Alpha = Annotated[float, Field(gt=0, le=1000)]


class MixUp(Transform):
    """Average every image of a batch with another one, and their labels likewise (arXiv:1710.09412)."""

    random = True
    stands = "last"
    name: Literal["MixUp"]

    alpha: _Alpha = 1.0
    """The share of the first image is drawn from Beta(alpha, alpha): 1 is even, less is nearer to 0 or 1."""

    p: Fraction = 1.0
    """Share of the batches that are mixed; torchvision's has no such argument and mixes all."""


class CutMix(Transform):
    """Paste a rectangle of another image into each of a batch, the labels by area (arXiv:1905.04899)."""

    random = True
    stands = "last"
    name: Literal["CutMix"]

    alpha: _Alpha = 1.0
    """The share of the first image is drawn from Beta(alpha, alpha): 1 is even, less is nearer to 0 or 1."""

    p: Fraction = 1.0
    """Share of the batches that are mixed; torchvision's has no such argument and mixes all."""
