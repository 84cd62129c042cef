"""Transforms that turn, shift, scale and shear the image."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Items, Pair
from schemas.vision.transforms.base import (
    Fill,
    Form,
    Interpolation,
    PositiveRange,
    Rising,
    Transform,
    find_wrong_number,
)

_Degrees = Annotated[
    Annotated[float, Field(ge=0, le=360)] | Pair[Annotated[float, Field(ge=-360, le=360)]], Rising
]
_Center = Literal["none"] | Pair[Annotated[float, Field(ge=-1e6, le=1e6)]]
_Shear = Annotated[float, Field(ge=-89, le=89)]


class RandomRotation(Transform):
    """Turn by a random angle, counter-clockwise."""

    random = True
    name: Literal["RandomRotation"]

    degrees: _Degrees
    """Largest angle, to either side; or [smallest, largest]."""

    interpolation: Interpolation = "nearest"
    """How values between pixels are found."""

    center: _Center = "none"
    """Point [x, y] to turn around, in pixels from the upper left corner; none: the middle."""

    fill: Fill = 0.0
    """What corners are filled with, in the numbers that the pixels have at this place of the list."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_number("fill", self.fill, form)


class RandomAffine(Transform):
    """Turn, shift, scale and shear by random amounts."""

    random = True
    name: Literal["RandomAffine"]

    degrees: _Degrees
    """Largest angle, to either side; or [smallest, largest]; clockwise, unlike RandomRotation's."""

    translate: Literal["none"] | Pair[Annotated[float, Field(ge=0, le=1)]] = "none"
    """Largest shift [across, down], to either side, as a share of width and height."""

    scale: Literal["none"] | PositiveRange = "none"
    """Smallest and largest factor."""

    shear: (
        Literal["none"]
        | Annotated[float, Field(ge=0, le=89)]
        | Annotated[Items[_Shear], Field(min_length=2, max_length=4)]
    ) = "none"
    """Largest angle across in degrees, to either side; or [smallest, largest]; or 4 numbers: across, down."""

    interpolation: Interpolation = "nearest"
    """How values between pixels are found."""

    fill: Fill = 0.0
    """What is filled into corners, in the numbers that the pixels have at this place of the list."""

    center: _Center = "none"
    """Point [x, y] that stays, in pixels from the upper left corner; none: the middle."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_number("fill", self.fill, form)
        if isinstance(self.shear, tuple):
            pairs = [self.shear[place : place + 2] for place in range(0, len(self.shear), 2)]
            if len(self.shear) == 3 or any(pair[0] > pair[1] for pair in pairs):
                yield "shear", "allowed: [smallest, largest] across, or 4 numbers for across and down"
