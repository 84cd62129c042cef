"""Accuracy on subgroups of the test images: by size, brightness, group, or any column of the index."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.evaluate.predictions import Bools, Floats, Ints, split_rows
from stages.vision.binomial import Interval, estimate_share
from stages.vision.dataset import PreparedImages

NUM_BINS = 4
MAX_VALUES = 20

Division = Iterator[tuple[str | None, tuple[float, float] | None, Ints]]
"""The text of each subgroup, or its smallest and largest number, and the images in it."""


@dataclass(frozen=True)
class Subgroup:
    """Some of the test images, and the accuracy on them."""

    attribute: str
    """What the images are divided by, as in evaluation.slices."""

    value: str | None
    """The text they share; None for numbers, and for the rest beside the most frequent texts."""

    bounds: tuple[float, float] | None
    """Smallest and largest number among them; None for texts."""

    num_images: int
    accuracy: float
    interval: Interval
    """95 % confidence interval."""

    differs: bool
    """Whether the accuracy on all images is outside its interval, widened for the number of subgroups."""


def measure_subgroups(
    attributes: Sequence[str],
    *,
    images: PreparedImages,
    columns: Mapping[str, Sequence[str]],
    is_correct: Bools,
    groups: Ints,
) -> list[Subgroup]:
    """Return the subgroups by each attribute in turn: numbers rising, texts by falling count.

    Args:
        attributes: image_size, brightness, or names of columns.
        images: The test images (N) without transforms, for their brightness.
        columns: Texts of the index (N,); height_px and width_px for image_size.
        is_correct: bool (N,), whether each prediction is correct.
        groups: int64 (N,), the group of each image.
    """
    found: list[tuple[str, str | None, tuple[float, float] | None, Ints]] = []
    for attribute in attributes:
        if attribute == "brightness":
            divided = divide_numbers(measure_brightness(images))
        elif attribute == "image_size":
            height, width = (_to_numbers(columns[side]) for side in ("height_px", "width_px"))
            divided = divide_numbers(np.sqrt(height * width))
        elif attribute in ("height_px", "width_px"):
            divided = divide_numbers(_to_numbers(columns[attribute]))
        else:
            divided = divide_texts(columns[attribute])
        found += [(attribute, *each) for each in divided]
    accuracy = float(is_correct.mean())
    subgroups = []
    for attribute, value, bounds, chosen in found:
        correct, own_groups = is_correct[chosen], groups[chosen]
        interval = estimate_share(correct, own_groups)
        wide = estimate_share(correct, own_groups, num_comparisons=len(found))
        differs = not wide.low <= accuracy <= wide.high
        subgroups.append(
            Subgroup(attribute, value, bounds, len(chosen), float(correct.mean()), interval, differs)
        )
    return subgroups


def list_columns(attributes: Sequence[str]) -> list[str]:
    """Return the columns of the index that these attributes need."""
    columns: list[str] = []
    for attribute in attributes:
        if attribute == "image_size":
            columns += ["height_px", "width_px"]
        elif attribute != "brightness":
            columns.append(attribute)
    return columns


def divide_numbers(numbers: Floats) -> Division:
    """Yield quarters of the images by their numbers (N,); equal numbers stay together."""
    cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, NUM_BINS + 1)[1:-1], method="lower"))
    quarter_of = np.searchsorted(cuts, numbers, side="left")
    for quarter in np.unique(quarter_of).tolist():
        chosen = np.flatnonzero(quarter_of == quarter)
        yield None, (float(numbers[chosen].min()), float(numbers[chosen].max())), chosen


def divide_texts(texts: Sequence[str]) -> Division:
    """Yield the images of the 20 most frequent texts (N,), then all others; an empty text counts as one."""
    frequent = sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))[:MAX_VALUES]
    place_of = {text: place for place, (text, _) in enumerate(frequent)}
    places = np.array([place_of.get(text, len(frequent)) for text in texts])
    for place, (text, _) in enumerate(frequent):
        yield text, None, np.flatnonzero(places == place)
    if len(others := np.flatnonzero(places == len(frequent))):
        yield None, None, others


def measure_brightness(images: PreparedImages) -> Floats:
    """Return the mean pixel of each image (N,), from 0 for black to 255, for images without transforms."""
    means = []
    for block in split_rows(len(images), num_columns=images.pixels(0).size):
        pixels, _ = images.gather(range(block.start, block.stop))
        means.append(pixels.flatten(start_dim=1).sum(dim=1).numpy() / pixels[0].numel())
    return np.concatenate(means)


def _to_numbers(texts: Sequence[str]) -> Floats:
    return np.array(texts, dtype=np.float64)
