"""Accuracy by what an image is like: its size, its brightness, its group, any column of the index."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.answers import Flags, split_rows
from stages.evaluate.intervals import Units, measure_share
from stages.vision.dataset import PreparedImages
from stages.vision.scores import Numbers

NUM_BINS = 4
MAX_VALUES = 20

Division = Iterator[tuple[str | None, tuple[float, float] | None, NDArray[np.int64]]]
"""The text of each part, or its smallest and largest number, and which images it holds."""


@dataclass(frozen=True)
class Slice:
    """Some of the test images, and the share of right answers among them."""

    by: str
    """What the images are divided by."""

    value: str | None
    """The text they share; None for numbers, and for what is left beside the most frequent texts."""

    bounds: tuple[float, float] | None
    """Smallest and largest number among them; None for texts."""

    num_images: int
    accuracy: float
    low: float
    """Lower end of the 95 % interval."""

    high: float


def measure_slices(
    names: Sequence[str],
    *,
    images: PreparedImages,
    columns: Mapping[str, Sequence[str]],
    is_right: Flags,
    units: Units,
) -> list[Slice]:
    """Return the slices of each name, one name after the other: numbers rising, texts by falling count.

    Args:
        names: image_size, brightness, or names of columns.
        images: The test images (N) without transforms, for their brightness.
        columns: Texts of the index (N,); height_px and width_px for image_size.
        is_right: bool (N,), whether each answer is right.
        units: int64 (N,), which images belong together.
    """
    slices = []
    for name in names:
        if name == "brightness":
            divided = divide_numbers(measure_brightness(images))
        elif name == "image_size":
            height, width = (_to_numbers(columns[side]) for side in ("height_px", "width_px"))
            divided = divide_numbers(np.sqrt(height * width))
        elif name in ("height_px", "width_px"):
            divided = divide_numbers(_to_numbers(columns[name]))
        else:
            divided = divide_texts(columns[name])
        slices += [
            _measure(name, value, bounds, is_right=is_right[chosen], units=units[chosen])
            for value, bounds, chosen in divided
        ]
    return slices


def divide_numbers(numbers: Numbers) -> Division:
    """Yield quarters of the images by their numbers (N,); equal numbers stay together."""
    cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, NUM_BINS + 1)[1:-1], method="lower"))
    place = np.searchsorted(cuts, numbers, side="left")
    for number in np.unique(place).tolist():
        chosen = np.flatnonzero(place == number)
        yield None, (float(numbers[chosen].min()), float(numbers[chosen].max())), chosen


def divide_texts(texts: Sequence[str]) -> Division:
    """Yield the images of the 20 most frequent texts (N,), then all others; an empty text is one as well."""
    frequent = sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))[:MAX_VALUES]
    place_of = {text: place for place, (text, _) in enumerate(frequent)}
    places = np.array([place_of.get(text, len(frequent)) for text in texts])
    for place, (text, _) in enumerate(frequent):
        yield text, None, np.flatnonzero(places == place)
    if len(others := np.flatnonzero(places == len(frequent))):
        yield None, None, others


def measure_brightness(images: PreparedImages) -> Numbers:
    """Return the mean pixel of each image (N,), from 0 for black to 255, for images without transforms."""
    parts = []
    for block in split_rows(len(images), num_columns=images.pixels(0).size):
        pixels, _ = images.gather(range(block.start, block.stop))
        parts.append(pixels.flatten(start_dim=1).sum(dim=1).numpy() / pixels[0].numel())
    return np.concatenate(parts)


def _to_numbers(texts: Sequence[str]) -> Numbers:
    return np.array(texts, dtype=np.float64)


def _measure(
    name: str, value: str | None, bounds: tuple[float, float] | None, *, is_right: Flags, units: Units
) -> Slice:
    accuracy, low, high = measure_share(is_right, units)
    return Slice(name, value, bounds, len(is_right), accuracy, low, high)
