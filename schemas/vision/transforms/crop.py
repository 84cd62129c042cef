"""Transforms that cut out a part, or bring the whole to another size."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Items
from schemas.vision.transforms.base import (
    Fill,
    Form,
    FractionRange,
    Interpolation,
    PositiveRange,
    Side,
    SideOrImage,
    Transform,
    find_wrong_number,
)

_Padding = Annotated[int, Field(ge=0, le=4096)]


class RandomCrop(Transform):
    """Pad the sides, then cut out a window at a random place."""

    random = True
    name: Literal["RandomCrop"]

    padding: _Padding | Annotated[Items[_Padding], Field(min_length=2, max_length=4)]
    """Pixels added to every side before cutting; or [across, down]; or [left, top, right, bottom]."""

    height_px: SideOrImage = "image"
    """Height of the window; image: that of the image before padding."""

    width_px: SideOrImage = "image"
    """Width of the window; image: that of the image before padding."""

    pad_if_needed: bool = False
    """Pad more where the window is larger than the padded image, instead of refusing it."""

    fill: Fill = 0.0
    """What constant padding is filled with, in the numbers that the pixels have at this place of the list."""

    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"
    """What the padding holds: fill, the outermost pixel, or the image mirrored without or with its edge."""

    def sides(self) -> tuple[int, int, int, int]:
        """Return the padding at left, top, right and bottom."""
        if isinstance(self.padding, int):
            return (self.padding,) * 4
        left, top, right, bottom = self.padding if len(self.padding) == 4 else self.padding[:2] * 2
        return left, top, right, bottom

    def change_form(self, form: Form) -> Form:
        height_px = form.height_px if self.height_px == "image" else self.height_px
        width_px = form.width_px if self.width_px == "image" else self.width_px
        return Form(height_px, width_px, form.num_channels)

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_number("fill", self.fill, form)
        if isinstance(self.padding, tuple) and len(self.padding) == 3:
            yield "padding", "found 3 numbers; allowed: one number, 2 or 4"
            return
        left, top, right, bottom = self.sides()
        wanted = self.change_form(form)
        if not self.pad_if_needed:
            for key, side, padded in (
                ("height_px", wanted.height_px, form.height_px + top + bottom),
                ("width_px", wanted.width_px, form.width_px + left + right),
            ):
                if side > padded:
                    yield (
                        key,
                        f"found {side}; allowed: at most {padded}, the padded image, or pad_if_needed: true",
                    )
        # One mirror image is all there is: reflect lacks the edge itself.
        lacking = {"reflect": 1, "symmetric": 0}.get(self.padding_mode)
        if lacking is not None:
            if self.pad_if_needed:
                top = bottom = max(top, bottom) + max(0, wanted.height_px - form.height_px - top - bottom)
                left = right = max(left, right) + max(0, wanted.width_px - form.width_px - left - right)
            for most, widest in (
                (form.height_px - lacking, max(top, bottom)),
                (form.width_px - lacking, max(left, right)),
            ):
                if widest > most:
                    yield (
                        "padding_mode",
                        (
                            f"found {self.padding_mode} with {widest} pixels of padding; "
                            f"allowed: at most {most} for images of this form, or another padding_mode"
                        ),
                    )
                    return


class RandomResizedCrop(Transform):
    """Cut out a window of random area and shape at a random place, and bring it to one size."""

    random = True
    name: Literal["RandomResizedCrop"]

    height_px: SideOrImage = "image"
    """Height afterwards; image: as before."""

    width_px: SideOrImage = "image"
    """Width afterwards; image: as before."""

    scale: FractionRange = (0.08, 1.0)
    """Smallest and largest share of the image's area."""

    ratio: PositiveRange = (0.75, 4 / 3)
    """Smallest and largest width divided by height."""

    interpolation: Interpolation = "bilinear"
    """How values between pixels are found."""

    antialias: bool = True
    """Average over all pixels that fall into one, where bilinear makes the window smaller."""

    def change_form(self, form: Form) -> Form:
        height_px = form.height_px if self.height_px == "image" else self.height_px
        width_px = form.width_px if self.width_px == "image" else self.width_px
        return Form(height_px, width_px, form.num_channels)


class Resize(Transform):
    """Bring the image to one size; its shape is not kept."""

    random = False
    name: Literal["Resize"]

    height_px: Side
    """Height afterwards."""

    width_px: Side
    """Width afterwards."""

    interpolation: Interpolation = "bilinear"
    """How values between pixels are found."""

    antialias: bool = True
    """Average over all pixels that fall into one, where bilinear makes the image smaller."""

    in_training: bool = True
    """false: when validating, testing and using only, where a random crop does its part in training."""

    def applies(self, *, training: bool) -> bool:
        return self.in_training or not training

    def change_form(self, form: Form) -> Form:
        return Form(self.height_px, self.width_px, form.num_channels)


class CenterCrop(Transform):
    """Cut out the middle; what is missing of a smaller image is black."""

    random = False
    name: Literal["CenterCrop"]

    height_px: Side
    """Height of the window."""

    width_px: Side
    """Width of the window."""

    in_training: bool = True
    """false: when validating, testing and using only, where a random crop does its part in training."""

    def applies(self, *, training: bool) -> bool:
        return self.in_training or not training

    def change_form(self, form: Form) -> Form:
        return Form(self.height_px, self.width_px, form.num_channels)
