"""Fractions over fractions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.evaluate.report.charts import Axis, Line, LineChart, Tick, fit_axis, join_points


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
    meaning: str,
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
        meaning: how to read it.
        x_label: what the horizontal axis counts.
        top: the largest fraction on the vertical axis.
        marked_x: where a vertical line stands.
        marked_label: what it marks.
    """
    heights = fit_axis(0.0, top, floor=0.0, ceiling=1.0)
    widths = Axis(0.0, 1.0, 0.2)

    def line(curve: Curve) -> Line:
        places = [(widths.across(x), heights.up(y)) for x, y in curve.places]
        radii = [f"{2 + 6 * math.sqrt(weight):.1f}" for weight in curve.weights]
        return Line(
            name=curve.name,
            css_class=curve.css_class,
            points=join_points(places),
            dots=[(*place, radius) for place, radius in zip(places, radii, strict=False)],
            marked=None,
        )

    return LineChart(
        key=key,
        title=title,
        long_title=title,
        x_label=x_label,
        marked_label=marked_label,
        description=description,
        meaning=meaning,
        lines=[line(curve) for curve in curves],
        x_ticks=[Tick(widths.across(part / 5), f"{20 * part} %") for part in range(6)],
        y_ticks=heights.label_heights(percent=True),
        marked_x=None if marked_x is None else widths.across(marked_x),
    )
