"""Random augmentations: rotation, affine maps, colors, blur, TrivialAugment.

Limits and defaults are torchvision's; what torchvision writes as None is null.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.shared.fields import Fraction, Items, Pair
from schemas.vision.transforms.transform import (
    Fill,
    Form,
    Interpolation,
    PositiveRange,
    Rising,
    Transform,
    find_wrong_length,
)

_Degrees = Annotated[
    Annotated[float, Field(ge=0, le=360)] | Pair[Annotated[float, Field(ge=-360, le=360)]], Rising
]
_Center = Pair[Annotated[float, Field(ge=-1e6, le=1e6)]] | None
_Shear = Annotated[float, Field(ge=-89, le=89)]
_Factor = Annotated[float, Field(ge=0, le=100)]
_Factors = Annotated[_Factor | Pair[_Factor], Rising]
_Kernel = Annotated[int, Field(ge=1, le=255)]
_Sigma = Annotated[float, Field(gt=0, le=1e6)]


class RandomRotation(Transform):
    """Rotate counter-clockwise by a random angle."""

    random = True
    name: Literal["RandomRotation"]

    degrees: _Degrees
    """Largest angle, in either direction; or [smallest, largest]."""

    interpolation: Interpolation = "nearest"
    """How values between pixels are found."""

    center: _Center = None
    """Point [x, y] to rotate around, in pixels from the upper left corner; null: the middle."""

    fill: Fill = 0.0
    """Value of the corners, from 0 to 255."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_length("fill", self.fill, form)


class RandomAffine(Transform):
    """Rotate, shift, scale and shear by random amounts."""

    random = True
    name: Literal["RandomAffine"]

    degrees: _Degrees
    """Largest angle, in either direction; or [smallest, largest]; clockwise, unlike RandomRotation."""

    translate: Pair[Annotated[float, Field(ge=0, le=1)]] | None = None
    """Largest shift [across, down], in either direction, as a fraction of the image's sides; null: none."""

    scale: PositiveRange | None = None
    """Smallest and largest factor; null: no scaling."""

    shear: (
        Annotated[float, Field(ge=0, le=89)]
        | Annotated[Items[_Shear], Field(min_length=2, max_length=4)]
        | None
    ) = None
    """Largest angle across in degrees, in either direction; or [smallest, largest]; or 4 numbers: across,
    down; null: no shear."""

    interpolation: Interpolation = "nearest"
    """How values between pixels are found."""

    fill: Fill = 0.0
    """Value of the corners, from 0 to 255."""

    center: _Center = None
    """Point [x, y] that stays in place, in pixels from the upper left corner; null: the middle."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_length("fill", self.fill, form)
        if isinstance(self.shear, tuple):
            pairs = [self.shear[start : start + 2] for start in range(0, len(self.shear), 2)]
            if len(self.shear) == 3 or any(pair[0] > pair[1] for pair in pairs):
                yield "shear", "allowed: [smallest, largest] across, or 4 numbers for across and down"


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue by random amounts, in random order."""

    random = True
    name: Literal["ColorJitter"]

    brightness: _Factors = 0.0
    """Largest change of the factor, to either side of 1; or [smallest, largest] factor."""

    contrast: _Factors = 0.0
    """Largest change of the factor, to either side of 1; or [smallest, largest] factor."""

    saturation: _Factors = 0.0
    """Largest change of the factor, to either side of 1; or [smallest, largest]; no effect on grayscale."""

    hue: Annotated[
        Annotated[float, Field(ge=0, le=0.5)] | Pair[Annotated[float, Field(ge=-0.5, le=0.5)]], Rising
    ] = 0.0
    """Largest shift on the color circle of length 1; or [smallest, largest]; no effect on grayscale."""


class RandomGrayscale(Transform):
    """Convert to gray with probability p; the number of channels stays."""

    random = True
    name: Literal["RandomGrayscale"]
    p: Fraction = 0.1
    """Fraction of the images that become gray."""


def _check_odd(sides: int | tuple[int, int]) -> int | tuple[int, int]:
    if any(side % 2 == 0 for side in (sides if isinstance(sides, tuple) else (sides,))):
        raise ValueError("allowed: an odd number, or two")
    return sides


class GaussianBlur(Transform):
    """Blur with a Gaussian of random standard deviation."""

    random = True
    name: Literal["GaussianBlur"]

    kernel_size: Annotated[_Kernel | Pair[_Kernel], AfterValidator(_check_odd)]
    """Side of the kernel in pixels, odd; or [across, down]."""

    sigma: Annotated[_Sigma | Pair[_Sigma], Rising] = (0.1, 2.0)
    """Standard deviation of the Gaussian in pixels; or [smallest, largest]."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        across, down = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,) * 2
        # The border is padded by reflection, which cannot be longer than the image.
        if across // 2 >= form.width_px or down // 2 >= form.height_px:
            yield (
                "kernel_size",
                (
                    f"found {max(across, down)}; allowed: less than twice the image's side, "
                    f"which is {form.height_px} x {form.width_px} px"
                ),
            )


class TrivialAugmentWide(Transform):
    """Apply one of 14 operations to each image, at random strength (arXiv:2103.10158)."""

    random = True
    name: Literal["TrivialAugmentWide"]

    num_magnitude_bins: Annotated[int, Field(ge=2, le=1000)] = 31
    """Steps from the weakest to the strongest."""

    interpolation: Interpolation = "nearest"
    """How values between pixels are found where the image is rotated, shifted or sheared."""

    fill: Fill | None = None
    """Value of the corners; null: black."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_length("fill", self.fill, form)
