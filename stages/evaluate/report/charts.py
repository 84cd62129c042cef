"""What a line chart is made of; the template draws it, line_chart.py and fraction_chart.py lay it out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 466, 16, 256
_INSET = 8


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    position: str
    label: str


@dataclass(frozen=True)
class Line:
    """A series in drawing coordinates."""

    name: str
    css_class: str
    points: str
    dots: list[tuple[str, str, str]]
    """Places and radii. Empty where dots would run into each other."""

    marked: tuple[str, str] | None
    """Where the line is at the best epoch."""


@dataclass(frozen=True)
class LineChart:
    """All positions of one chart, as text with fixed decimals."""

    key: str
    """Prefix of the ids inside the drawing."""

    title: str
    long_title: str
    """The title for those who do not see the axes."""

    x_label: str
    marked_label: str
    """What the vertical line marks."""

    description: str
    """What a reader sees in it, for those who do not."""

    meaning: str
    """How to read it."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marked_x: str | None
    """Where the vertical line stands, if there is one."""


@dataclass(frozen=True)
class Axis:
    """A range of values, on whole steps."""

    low: float
    high: float
    step: float

    def across(self, value: float) -> str:
        """Return where a value stands from left to right."""
        return f"{LEFT + _INSET + self._share(value) * (RIGHT - LEFT - 2 * _INSET):.1f}"

    def up(self, value: float) -> str:
        """Return where a value stands from bottom to top."""
        return f"{BOTTOM - self._share(value) * (BOTTOM - TOP):.1f}"

    def label_heights(self, *, percent: bool) -> list[Tick]:
        """Return a mark for each step of a vertical axis, with as few decimals as tell them apart."""
        scale, unit = (100, " %") if percent else (1, "")
        decimals = max(0, -math.floor(math.log10(self.step * scale) + 1e-9))
        num_steps = round((self.high - self.low) / self.step)
        values = [self.low + number * self.step for number in range(num_steps + 1)]
        return [Tick(self.up(value), f"{scale * value:.{decimals}f}{unit}") for value in values]

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


def fit_axis(low: float, high: float, *, floor: float, ceiling: float) -> Axis:
    """Return an axis that holds all values from low to high.

    Only values that are all the same stretch it, never below the floor or above the ceiling.
    """
    if high - low < 1e-9:
        low, high = max(floor, low - 0.05), min(ceiling, high + 0.05)
    step = round_step(high - low)
    return Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step)


def round_step(span: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... times a power of ten that cuts a span into five or fewer."""
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def join_points(places: Iterable[tuple[str, str]]) -> str:
    """Write places as SVG's polyline wants them."""
    return " ".join(f"{across},{down}" for across, down in places)
