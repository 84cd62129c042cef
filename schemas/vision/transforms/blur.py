"""Blurring."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.shared.fields import Pair
from schemas.vision.transforms.base import Form, Rising, Transform


def _refuse_even(sides: int | tuple[int, int]) -> int | tuple[int, int]:
    if any(side % 2 == 0 for side in (sides if isinstance(sides, tuple) else (sides,))):
        raise ValueError("allowed: an odd number, or two")
    return sides


_Kernel = Annotated[int, Field(ge=1, le=255)]
_Sigma = Annotated[float, Field(gt=0, le=1e6)]


class GaussianBlur(Transform):
    """Blur with a Gaussian of random width."""

    random = True
    name: Literal["GaussianBlur"]

    kernel_size: Annotated[_Kernel | Pair[_Kernel], AfterValidator(_refuse_even)]
    """Side of the window in pixels, odd; or [across, down]."""

    sigma: Annotated[_Sigma | Pair[_Sigma], Rising] = (0.1, 2.0)
    """Width of the Gaussian in pixels; or [smallest, largest]."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        across, down = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,) * 2
        if across // 2 >= form.width_px or down // 2 >= form.height_px:
            yield (
                "kernel_size",
                (
                    f"found {max(across, down)}; allowed: less than twice the image's side, "
                    f"which is {form.height_px} x {form.width_px} px"
                ),
            )
