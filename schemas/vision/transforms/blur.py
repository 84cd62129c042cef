"""Blurring."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.shared.fields import Pair
from schemas.vision.transforms.base import Form, PositiveRange, Transform


def _refuse_even(side: int) -> int:
    if side % 2 == 0:
        raise ValueError("allowed: an odd number")
    return side


_Kernel = Annotated[int, Field(ge=1, le=255), AfterValidator(_refuse_even)]


class GaussianBlur(Transform):
    """Blur with a Gaussian of random width."""

    random = True
    name: Literal["GaussianBlur"]

    kernel_size: _Kernel | Pair[_Kernel]
    """Side of the window in pixels, odd; or [across, down]."""

    sigma: Annotated[float, Field(gt=0, le=1e6)] | PositiveRange = (0.1, 2.0)
    """Width of the Gaussian in pixels; or [smallest, largest]."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        across, down = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,) * 2
        if across // 2 >= form.width_px or down // 2 >= form.height_px:
            yield (
                "kernel_size",
                f"found {max(across, down)}; allowed: less than twice the image's side, "
                f"which is {form.height_px} x {form.width_px} px",
            )
