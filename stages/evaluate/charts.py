"""Geometry of the report's line charts; the template draws them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 466, 16, 256


@dataclass(frozen=True)
class Series:
    """One line: its name in the legend, the CSS class that styles it, one value an epoch."""

    name: str
    css_class: str
    values: Sequence[float]


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
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marked_x: str | None
    """Where the vertical line stands, if there is one."""


def build_line_chart(
    series: Sequence[Series],
    *,
    key: str,
    title: str,
    description: str,
    epochs: Sequence[int],
    marked_epoch: int,
    percent: bool,
) -> LineChart:
    """Lay out one line a series over the epochs.

    Args:
        series: at least one, each with as many values as there are epochs.
        key: prefix of the ids inside the drawing.
        title: what the chart shows.
        description: what a reader sees in it, for those who do not.
        epochs: the numbers on the horizontal axis, ascending.
        marked_epoch: the epoch a vertical line marks.
        percent: whether the values are fractions, to be labelled in percent.
    """
    values = [value for line in series for value in line.values]
    lowest = min(values) if percent else min(0.0, *values)
    low, high, step = _axis(lowest, max(values), floor=min(0.0, lowest), ceiling=1.0 if percent else math.inf)
    first, last = epochs[0], epochs[-1]

    def x(epoch: float) -> str:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return f"{LEFT + 8 + share * (RIGHT - LEFT - 16):.1f}"

    def y(value: float) -> str:
        return f"{BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP):.1f}"

    def line(item: Series) -> Line:
        places = [(x(epoch), y(value)) for epoch, value in zip(epochs, item.values, strict=True)]
        return Line(
            name=item.name,
            css_class=item.css_class,
            points=" ".join(f"{across},{down}" for across, down in places),
            dots=[(*place, "2.5") for place in places] if len(places) <= 40 else [],
            marked=places[list(epochs).index(marked_epoch)],
        )

    decimals = max(0, -math.floor(math.log10(step * (100 if percent else 1)) + 1e-9))
    heights = [low + number * step for number in range(round((high - low) / step) + 1)]
    return LineChart(
        key=key,
        title=title,
        long_title=f"{title} after each epoch",
        x_label="epoch",
        marked_label=f"best epoch: {marked_epoch}",
        description=description,
        lines=[line(item) for item in series],
        x_ticks=[Tick(x(epoch), str(epoch)) for epoch in _epoch_ticks(first, last)],
        y_ticks=[
            Tick(y(height), f"{100 * height:.{decimals}f} %" if percent else f"{height:.{decimals}f}")
            for height in heights
        ],
        marked_x=x(marked_epoch),
    )


@dataclass(frozen=True)
class Curve:
    """One line through places (x, y), both fractions."""

    name: str
    css_class: str
    places: Sequence[tuple[float, float]]
    weights: Sequence[float] = ()
    """One for each place, from 0 to 1: the heavier, the larger its dot. No dots without."""


def build_fraction_chart(
    curves: Sequence[Curve],
    *,
    key: str,
    title: str,
    description: str,
    x_label: str,
    top: float,
    marked_x: float | None = None,
    marked_label: str = "",
) -> LineChart:
    """Lay out curves of fractions over fractions, both axes in percent and starting at 0.

    Args:
        curves: at least one.
        key: prefix of the ids inside the drawing.
        title: what the chart shows.
        description: what a reader sees in it, for those who do not.
        x_label: what the horizontal axis counts.
        top: the largest fraction on the vertical axis.
        marked_x: where a vertical line stands.
        marked_label: what it marks.
    """
    _, high, step = _axis(0.0, top, floor=0.0, ceiling=1.0)

    def x(value: float) -> str:
        return f"{LEFT + 8 + value * (RIGHT - LEFT - 16):.1f}"

    def y(value: float) -> str:
        return f"{BOTTOM - value / high * (BOTTOM - TOP):.1f}"

    lines = []
    for curve in curves:
        places = [(x(across), y(up)) for across, up in curve.places]
        lines.append(
            Line(
                name=curve.name,
                css_class=curve.css_class,
                points=" ".join(f"{across},{down}" for across, down in places),
                dots=[
                    (*place, f"{2 + 6 * math.sqrt(weight):.1f}")
                    for place, weight in zip(places, curve.weights, strict=False)
                ],
                marked=None,
            )
        )
    decimals = max(0, -math.floor(math.log10(step * 100) + 1e-9))
    heights = [number * step for number in range(round(high / step) + 1)]
    return LineChart(
        key=key,
        title=title,
        long_title=title,
        x_label=x_label,
        marked_label=marked_label,
        description=description,
        lines=lines,
        x_ticks=[Tick(x(part / 5), f"{20 * part} %") for part in range(6)],
        y_ticks=[Tick(y(height), f"{100 * height:.{decimals}f} %") for height in heights],
        marked_x=None if marked_x is None else x(marked_x),
    )


def _step(span: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... times a power of ten that cuts a span into five or fewer."""
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _axis(low: float, high: float, *, floor: float, ceiling: float) -> tuple[float, float, float]:
    """Return the ends of an axis that holds all values, on whole steps, and the step.

    Only values that are all the same stretch it, never below the floor or above the ceiling.
    """
    if high - low < 1e-9:
        low, high = max(floor, low - 0.05), min(ceiling, high + 0.05)
    step = _step(high - low)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def _epoch_ticks(first: int, last: int) -> list[int]:
    """Return whole numbers to label: all of a few, of many the first and the round ones."""
    if last - first < 12:
        return list(range(first, last + 1))
    step = round(_step((last - first) * 5 / 8))
    return [first, *(epoch for epoch in range(step, last + 1, step) if epoch - first > step / 2)]
