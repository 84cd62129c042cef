"""Random erasing."""

from collections.abc import Iterator
from typing import Literal

from schemas.shared.fields import Fraction
from schemas.vision.transforms.base import (
    Fill,
    Form,
    FractionRange,
    PositiveRange,
    Transform,
    find_wrong_number,
)


class RandomErasing(Transform):
    """Overwrite a random rectangle with probability p (arXiv:1708.04896)."""

    random = True
    stands = "after ToTensor"
    name: Literal["RandomErasing"]

    p: Fraction = 0.5
    """Share of the images that lose a rectangle."""

    scale: FractionRange = (0.02, 0.33)
    """Smallest and largest share of the image's area."""

    ratio: PositiveRange = (0.3, 3.3)
    """Smallest and largest height divided by width."""

    value: Literal["random"] | Fill = 0.0
    """What is written, in the numbers that pixels have at this place; random: noise of deviation 1."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_number("value", self.value, form)
