"""From bytes to the numbers that a network takes."""

from collections.abc import Iterator
from typing import Literal

from schemas.shared.fields import Items, Positive
from schemas.vision.transforms.base import Form, Transform


class ToTensor(Transform):
    """Turn bytes 0..255 into floats 0..1."""

    random = False
    name: Literal["ToTensor"]


class Normalize(Transform):
    """Subtract the mean and divide by the standard deviation, channel by channel."""

    random = False
    name: Literal["Normalize"]

    mean: Literal["dataset"] | Items[float]
    """dataset: measured on the training split; or one number a channel, for pixels in 0..1."""

    std: Literal["dataset"] | Items[Positive]
    """dataset: measured on the training split; or one number a channel, for pixels in 0..1."""

    def find_problems(self, form: Form) -> Iterator[tuple[str, str]]:
        color = "rgb" if form.num_channels == 3 else "grayscale"
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values != "dataset" and len(values) != form.num_channels:
                yield (
                    key,
                    (
                        f"found {len(values)} numbers; allowed: dataset, or {form.num_channels} "
                        f"for dataset.color: {color}"
                    ),
                )
