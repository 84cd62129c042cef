"""TrivialAugment."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from schemas.vision.transforms.base import Fill, Form, Interpolation, Transform, find_wrong_number


class TrivialAugmentWide(Transform):
    """Change each image by one of 14 ways, at random strength (arXiv:2103.10158)."""

    random = True
    stands = "before ToTensor"
    name: Literal["TrivialAugmentWide"]

    num_magnitude_bins: Annotated[int, Field(ge=2, le=1000)] = 31
    """Steps from the weakest to the strongest."""

    interpolation: Interpolation = "nearest"
    """How values between pixels are found where the image is turned, shifted or sheared."""

    fill: Literal["none"] | Fill = "none"
    """What corners are filled with; none: black."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_number("fill", self.fill, form)
