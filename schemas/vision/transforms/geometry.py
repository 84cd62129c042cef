"""Crops, resizing and flips."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction, Items
from schemas.vision.transforms.transform import (
    Fill,
    Form,
    FractionRange,
    Interpolation,
    PositiveRange,
    Side,
    SideOrImage,
    Transform,
    find_wrong_length,
)

_Padding = Annotated[int, Field(ge=0, le=4096)]


class RandomCrop(Transform):
    """Pad the sides, then cut out a window at a random position."""

    random = True
    name: Literal["RandomCrop"]

    padding: _Padding | Annotated[Items[_Padding], Field(min_length=2, max_length=4)]
    """Pixels added to every side before cropping; or [across, down]; or [left, top, right, bottom]."""

    height_px: SideOrImage = "image"
    """Height of the window; image: that of the image before padding."""

    width_px: SideOrImage = "image"
    """Width of the window; image: that of the image before padding."""

    pad_if_needed: bool = False
    """Pad more where the window is larger than the padded image, instead of refusing it."""

    fill: Fill = 0.0
    """Value of constant padding, from 0 to 255."""

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
        yield from find_wrong_length("fill", self.fill, form)
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
        # Mirrored padding is at most one image wide; reflect leaves out the edge pixel itself.
        left_out = {"reflect": 1, "symmetric": 0}.get(self.padding_mode)
        if left_out is None:
            return
        if self.pad_if_needed:
            top = bottom = max(top, bottom) + max(0, wanted.height_px - form.height_px - top - bottom)
            left = right = max(left, right) + max(0, wanted.width_px - form.width_px - left - right)
        for most, widest in (
            (form.height_px - left_out, max(top, bottom)),
            (form.width_px - left_out, max(left, right)),
        ):
            if widest > most:
                yield (
                    "padding_mode",
                    (
                        f"found {self.padding_mode} with {widest} pixels of padding; allowed: at most {most} "
                        "for images of this size, or another padding_mode"
                    ),
                )
                return


class RandomResizedCrop(Transform):
    """Cut out a window of random area and aspect ratio at a random position, and resize it."""

    random = True
    name: Literal["RandomResizedCrop"]

    height_px: SideOrImage = "image"
    """Height afterwards; image: as before."""

    width_px: SideOrImage = "image"
    """Width afterwards; image: as before."""

    scale: FractionRange = (0.08, 1.0)
    """Smallest and largest area of the window, as a fraction of the image's."""

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

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        # Where no window of this shape fits, the largest one counts.
        if min(round(form.height_px * self.ratio[1]), round(form.width_px / self.ratio[0])) < 1:
            yield (
                "ratio",
                (
                    f"found {self.ratio[0]:g} to {self.ratio[1]:g}, of which a window in images of "
                    f"{form.height_px} x {form.width_px} px holds no pixel; allowed: wider or narrower ones"
                ),
            )


class Resize(Transform):
    """Resize to a fixed height and width; the aspect ratio is not kept."""

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
    """false: in validation, testing and prediction only, where a random crop takes its place in training."""

    def applies(self, *, training: bool) -> bool:
        return self.in_training or not training

    def change_form(self, form: Form) -> Form:
        return Form(self.height_px, self.width_px, form.num_channels)


class CenterCrop(Transform):
    """Cut out the middle; a smaller image is padded with black."""

    random = False
    name: Literal["CenterCrop"]

    height_px: Side
    """Height of the window."""

    width_px: Side
    """Width of the window."""

    in_training: bool = True
    """false: in validation, testing and prediction only, where a random crop takes its place in training."""

    def applies(self, *, training: bool) -> bool:
        return self.in_training or not training

    def change_form(self, form: Form) -> Form:
        return Form(self.height_px, self.width_px, form.num_channels)


class AlternatingHorizontalFlip(Transform):
    """Flip left and right in every other epoch; a random half of the images starts flipped.

    No image looks the same twice in a row, as half of them do under RandomHorizontalFlip. Not in torchvision.
    Source: Jordan 2024, arXiv:2404.00498, section 3.6.
    """

    random = True
    name: Literal["AlternatingHorizontalFlip"]


class RandomHorizontalFlip(Transform):
    """Flip left and right with probability p."""

    random = True
    name: Literal["RandomHorizontalFlip"]
    p: Fraction = 0.5
    """Fraction of the images that are flipped."""


class RandomVerticalFlip(Transform):
    """Flip top and bottom with probability p."""

    random = True
    name: Literal["RandomVerticalFlip"]
    p: Fraction = 0.5
    """Fraction of the images that are flipped."""
