"""What works on numbers: bytes to floats, normalization, erasing, and mixing of the images of a batch."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction, Items, Positive
from schemas.vision.transforms.transform import (
    Form,
    FractionRange,
    PositiveRange,
    Transform,
    find_wrong_length,
)

_Number = Annotated[float, Field(ge=-1e6, le=1e6)]
_Alpha = Annotated[float, Field(gt=0, le=1000)]


class ToTensor(Transform):
    """Convert bytes 0..255 to floats 0..1."""

    random = False
    position = "after ToTensor"
    name: Literal["ToTensor"]


class Normalize(Transform):
    """Subtract the mean and divide by the standard deviation, channel by channel."""

    random = False
    position = "after ToTensor"
    name: Literal["Normalize"]

    mean: Literal["dataset", "weights"] | Items[float]
    """dataset: measured on the training split; weights: what the pretrained weights of torchvision or timm
    expect; or one number per channel, for pixels in 0..1."""

    std: Literal["dataset", "weights"] | Items[Positive]
    """dataset: measured on the training split; weights: what the pretrained weights of torchvision or timm
    expect; or one number per channel, for pixels in 0..1."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        color = "rgb" if form.num_channels == 3 else "grayscale"
        for key, values in (("mean", self.mean), ("std", self.std)):
            if not isinstance(values, str) and len(values) != form.num_channels:
                yield (
                    key,
                    (
                        f"found {len(values)} numbers; allowed: dataset, weights, or {form.num_channels} "
                        f"for dataset.color: {color}"
                    ),
                )


class RandomErasing(Transform):
    """Overwrite a random rectangle with probability p (arXiv:1708.04896)."""

    random = True
    position = "after ToTensor"
    name: Literal["RandomErasing"]

    p: Fraction = 0.5
    """Fraction of the images that lose a rectangle."""

    scale: FractionRange = (0.02, 0.33)
    """Smallest and largest area, as a fraction of the image's."""

    ratio: PositiveRange = (0.3, 3.3)
    """Smallest and largest height divided by width."""

    value: Literal["random"] | _Number | Annotated[Items[_Number], Field(min_length=1)] = 0.0
    """New value, on the scale that pixels have at this place of the list; random: standard normal noise."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        yield from find_wrong_length("value", self.value, form)


class MixUp(Transform):
    """Average each image of a batch with another one, and their labels too (arXiv:1710.09412)."""

    random = True
    position = "last"
    name: Literal["MixUp"]

    alpha: _Alpha = 1.0
    """The weight of the first image is drawn from Beta(alpha, alpha): 1 is uniform, less is nearer 0 or 1."""

    p: Fraction = 1.0
    """Fraction of the batches that are mixed; torchvision has no such argument and mixes all."""


class CutMix(Transform):
    """Paste a rectangle of another image into each of a batch, labels by area (arXiv:1905.04899)."""

    random = True
    position = "last"
    name: Literal["CutMix"]

    alpha: _Alpha = 1.0
    """The area of the first image is drawn from Beta(alpha, alpha): 1 is uniform, less is nearer 0 or 1."""

    p: Fraction = 1.0
    """Fraction of the batches that are mixed; torchvision has no such argument and mixes all."""
