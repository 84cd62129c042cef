"""Bar charts of what was measured of the images, laid out as text with fixed decimals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.images.image_table import ImageTable
from stages.pages import wording

WIDTH, HEIGHT = 480, 236
LEFT, RIGHT, TOP, BOTTOM = 58, 466, 16, 190
_NUM_BINS = 34
_MIN_BAR = 1.5
"""Height of the lowest bar: one image of a million is still seen."""

_MIN_LOG_SPAN = math.log(2)

Floats = npt.NDArray[np.float64]
Ticks = Sequence[tuple[float, str]]

_ASPECT_TICKS: Ticks = tuple(
    (ratio, f"{ratio:g}:1" if ratio >= 1 else f"1:{1 / ratio:g}")
    for ratio in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
)


@dataclass(frozen=True)
class Bar:
    """The images of one range of values, in drawing coordinates."""

    x: str
    y: str
    width: str
    height: str
    title: str


@dataclass(frozen=True)
class Histogram:
    """How many images have which value."""

    key: str
    """Prefix of the ids inside the drawing."""

    title: str
    x_label: str
    meaning: str
    description: str
    """Smallest, median and largest value."""

    bars: Sequence[Bar]
    ticks: Sequence[tuple[str, str]]
    """Position and label of each number on the horizontal axis."""

    most: int
    """Images in the highest bar."""


@dataclass(frozen=True)
class _Axis:
    """A range of values that is divided evenly, or its logarithms are."""

    low: float
    high: float
    is_log: bool = False

    @property
    def edges(self) -> Floats:
        if self.is_log:
            return np.geomspace(self.low, self.high, _NUM_BINS + 1)
        return np.linspace(self.low, self.high, _NUM_BINS + 1)

    def to_x(self, value: float) -> float:
        low, high, at = (math.log(some) if self.is_log else some for some in (self.low, self.high, value))
        return LEFT + (at - low) / (high - low) * (RIGHT - LEFT)


def build_histograms(table: ImageTable) -> tuple[list[Histogram], list[str]]:
    """Return the histograms of some images, and a sentence for each measure that all of them share."""
    height, width = table.height_px.astype(np.float64), table.width_px.astype(np.float64)
    histograms, shared = [], []
    if np.ptp(height) == np.ptp(width) == 0:
        shared.append(f"All images are {table.width_px[0]:,} x {table.height_px[0]:,} px.")
    else:
        histograms += [_draw_sizes(np.sqrt(height * width)), _draw_shapes(width / height)]
    histograms += [
        _draw(
            table.brightness.astype(np.float64),
            _Axis(0, 255),
            [(value, str(value)) for value in (0, 64, 128, 192, 255)],
            key="brightness",
            title="Brightness",
            x_label="mean grey level: 0 is black, 255 white",
            meaning="Two humps are often two cameras, or day and night.",
        ),
        _draw(
            table.std.astype(np.float64),
            _Axis(0, 128),
            [(value, str(value)) for value in (0, 32, 64, 96, 128)],
            key="contrast",
            title="Contrast",
            x_label="standard deviation of the grey levels",
            meaning="Near 0, an image is of a single color.",
        ),
        _draw(
            table.sharpness.astype(np.float64),
            _Axis(0, 1),
            [(value / 5, f"{20 * value} %") for value in range(6)],
            key="sharpness",
            title="Sharpness",
            x_label="steepest edge: its rise from one pixel to the next",
            meaning="At 128 px. Near 20 % even the sharpest edge of an image is blurred.",
        ),
    ]
    return histograms, shared


def _draw_sizes(sides: Floats) -> Histogram:
    axis = _fit_log_axis(sides)
    return _draw(
        sides,
        axis,
        _round_ticks(axis),
        key="size",
        title="Size",
        x_label="side of a square of the same area, in px",
        meaning="All are brought to dataset.height_px x dataset.width_px, small ones by enlarging them.",
    )


def _draw_shapes(ratios: Floats) -> Histogram:
    return _draw(
        ratios,
        _fit_log_axis(ratios),
        _ASPECT_TICKS,
        key="shape",
        title="Shape",
        x_label="width : height",
        meaning="dataset.resize decides what becomes of other shapes than its own: squish, pad or crop.",
    )


def _draw(
    values: Floats, axis: _Axis, ticks: Ticks, *, key: str, title: str, x_label: str, meaning: str
) -> Histogram:
    edges = axis.edges
    counts = np.histogram(np.clip(values, axis.low, axis.high), edges)[0].tolist()
    bars = []
    for count, left, right in zip(counts, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            height = max(_MIN_BAR, count / max(counts) * (BOTTOM - TOP))
            bars.append(
                Bar(
                    x=f"{axis.to_x(left):.1f}",
                    y=f"{BOTTOM - height:.1f}",
                    width=f"{axis.to_x(right) - axis.to_x(left) - 1:.1f}",
                    height=f"{height:.1f}",
                    title=f"{_shorten(left)} to {_shorten(right)}: {wording.plural(count, 'image')}",
                )
            )
    smallest, median, largest = map(_shorten, np.percentile(values, (0, 50, 100)).tolist())
    return Histogram(
        key=key,
        title=title,
        x_label=x_label,
        meaning=meaning,
        description=f"From {smallest} to {largest}, median {median}.",
        bars=bars,
        ticks=[
            (f"{axis.to_x(value):.1f}", label) for value, label in ticks if axis.low <= value <= axis.high
        ],
        most=max(counts),
    )


def _fit_log_axis(values: Floats) -> _Axis:
    """Return an axis that holds all values, at least one doubling long."""
    low, high = float(values.min()), float(values.max())
    missing = max(0.0, _MIN_LOG_SPAN - math.log(high / low))
    return _Axis(low / math.exp(missing / 2), high * math.exp(missing / 2), is_log=True)


def _round_ticks(axis: _Axis) -> Ticks:
    """Return 1, 2 and 5 times powers of ten, or where those are many the powers alone."""
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    factors = (1, 2, 5) if math.log10(axis.high / axis.low) < 2 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    inside = [value for value in values if axis.low <= value <= axis.high]
    if len(inside) < 2:
        inside = [axis.low, (axis.low * axis.high) ** 0.5, axis.high]
    return [(value, f"{value:,.0f}") for value in inside]


def _shorten(value: float) -> str:
    """Write a number with three digits, whole ones in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
