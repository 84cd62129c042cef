"""Images that look unlike the rest: dark, bright, poor in information, blurred, or of another size or shape.

No limit suits all: digits are dark and hold little information, satellite images are all blurred. So an image
is compared with the median of all images and with that of its own class, and is unusual if it is far from
both. The unit is the standard deviation, robustly estimated from the median absolute deviation, or a minimum
below which a difference would not matter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.images.image_table import ImageTable

Floats = npt.NDArray[np.float64]
LookKind = Literal["dark", "bright", "low_information", "blurred"]

_MIN_COMPARED = 20
"""Among fewer images nothing is unusual."""

_MAD_TO_STD = 1.4826


@dataclass(frozen=True)
class Measure:
    """A value in which an image may be unusual."""

    of: Callable[[ImageTable], Floats]
    min_std: float
    """The least that counts as one standard deviation."""


@dataclass(frozen=True)
class Comparison:
    """How far each image is from the rest."""

    deviations: Floats
    """(N,) signed, in standard deviations, from the nearer of the two medians; 0 for an image not used."""

    median: float
    """Of all images that are used, as measured."""


LOOKS: dict[LookKind, Measure] = {
    "dark": Measure(lambda table: _log(table.bright_end), min_std=0.22),
    "bright": Measure(lambda table: _log(255 - table.dark_end), min_std=0.22),
    "low_information": Measure(lambda table: table.entropy.astype(np.float64), min_std=0.8),
    "blurred": Measure(lambda table: _log(table.sharpness), min_std=0.16),
}
"""What is far below the median in images of each kind.

At 5 deviations, the brightest parts of a dark image have a third of the usual grey level, and the darkest of
a bright one are as far from white; the grey levels of low information hold 4 bits less; an edge of a blurred
image is 2.2 times as wide.
"""

SIZE = Measure(lambda table: (_log(table.height_px) + _log(table.width_px)) / 2, min_std=0.22)
"""At 5 deviations a side is 3 times as long as usual, or a third."""

SHAPE = Measure(lambda table: np.abs(_log(table.height_px) - _log(table.width_px)), min_std=0.18)
"""Upright or not: at 5 deviations the longer side is 2.5 times as long, beside the shorter, as usual."""


def compare(measure: Measure, table: ImageTable, is_used: npt.NDArray[np.bool_]) -> Comparison:
    """Compare each image that is used with all of them, and with those of its class."""
    rows = np.flatnonzero(is_used)
    deviations = np.zeros(len(table))
    if len(rows) < _MIN_COMPARED:
        return Comparison(deviations, 0.0)
    values = measure.of(table)[rows]
    from_all = _count_deviations(values, min_std=measure.min_std)
    from_class = from_all.copy()
    order = np.argsort(table.label[rows], kind="stable")
    ends = np.cumsum(np.bincount(table.label[rows], minlength=1))
    for start, end in zip(np.append(0, ends), ends, strict=False):
        if end - start >= _MIN_COMPARED:
            members = order[start:end]
            from_class[members] = _count_deviations(values[members], min_std=measure.min_std)
    is_nearer = np.abs(from_class) < np.abs(from_all)
    agree = np.sign(from_class) == np.sign(from_all)
    deviations[rows] = np.where(agree, np.where(is_nearer, from_class, from_all), 0.0)
    return Comparison(deviations, float(np.median(values)))


def describe_look(kind: LookKind, table: ImageTable, row: int, comparison: Comparison) -> str:
    """Say what was measured of an image, and what is usual."""
    median = comparison.median
    match kind:
        case "dark":
            return f"brightest at grey level {table.bright_end[row]}, where {math.exp(median):.0f} is usual"
        case "bright":
            return f"darkest at grey level {table.dark_end[row]}, where {255 - math.exp(median):.0f} is usual"
        case "low_information":
            return f"{table.entropy[row]:.1f} bits of grey levels, where {median:.1f} are usual"
        case "blurred":
            rise, usual = 100 * table.sharpness.item(row), 100 * math.exp(median)
            return (
                f"its sharpest edges rise by {rise:.0f} % from pixel to pixel, where {usual:.0f} % is usual"
            )


def _count_deviations(values: Floats, *, min_std: float) -> Floats:
    """Return how many standard deviations each value is from the median."""
    distances = values - np.median(values)
    std = max(min_std, _MAD_TO_STD * float(np.median(np.abs(distances))))
    return np.asarray(distances / std)


def _log(values: npt.NDArray[np.generic]) -> Floats:
    """Return the logarithms of values of at least 1 / 255; zero stands for what was not measured."""
    return np.asarray(np.log(np.maximum(values.astype(np.float64), 1 / 255)))
