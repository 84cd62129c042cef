"""Transforms that change colours."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction, Pair
from schemas.vision.transforms.base import Rising, Transform

_Factor = Annotated[float, Field(ge=0, le=100)]
_Factors = Annotated[_Factor | Pair[_Factor], Rising]


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue by random amounts, in random order."""

    random = True
    stands = "before Normalize"
    name: Literal["ColorJitter"]

    brightness: _Factors = 0.0
    """Largest change of the factor, to either side of 1; or [smallest, largest] factor."""

    contrast: _Factors = 0.0
    """Largest change of the factor, to either side of 1; or [smallest, largest] factor."""

    saturation: _Factors = 0.0
    """Largest change of the factor, to either side of 1; or [smallest, largest]; grayscale has none."""

    hue: Annotated[
        Annotated[float, Field(ge=0, le=0.5)] | Pair[Annotated[float, Field(ge=-0.5, le=0.5)]], Rising
    ] = 0.0
    """Largest turn of the colour circle, to either side; or [smallest, largest]; grayscale has none."""


class RandomGrayscale(Transform):
    """Take the colour away with probability p; the number of channels stays."""

    random = True
    stands = "before Normalize"
    name: Literal["RandomGrayscale"]
    p: Fraction = 0.1
    """Share of the images that lose their colour."""
