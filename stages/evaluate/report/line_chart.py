"""Values over the epochs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.evaluate.report.charts import Axis, Line, LineChart, Tick, fit_axis, join_points, round_step

_MAX_DOTS = 40


@dataclass(frozen=True)
class Series:
    """One line: its name in the legend, the CSS class that styles it, one value an epoch."""

    name: str
    css_class: str
    values: Sequence[float]


def build_line_chart(
    series: Sequence[Series],
    *,
    key: str,
    title: str,
    description: str,
    meaning: str,
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
        meaning: how to read it.
        epochs: the numbers on the horizontal axis, ascending.
        marked_epoch: the epoch a vertical line marks.
        percent: whether the values are fractions, to be labelled in percent.
    """
    values = [value for line in series for value in line.values]
    lowest = min(values) if percent else min(0.0, *values)
    heights = fit_axis(lowest, max(values), floor=min(0.0, lowest), ceiling=1.0 if percent else math.inf)
    widths = Axis(epochs[0], epochs[-1], 1)

    def line(item: Series) -> Line:
        places = [
            (widths.across(epoch), heights.up(value))
            for epoch, value in zip(epochs, item.values, strict=True)
        ]
        return Line(
            name=item.name,
            css_class=item.css_class,
            points=join_points(places),
            dots=[(*place, "2.5") for place in places] if len(places) <= _MAX_DOTS else [],
            marked=places[list(epochs).index(marked_epoch)],
        )

    return LineChart(
        key=key,
        title=title,
        long_title=f"{title} after each epoch",
        x_label="epoch",
        marked_label=f"best epoch: {marked_epoch}",
        description=description,
        meaning=meaning,
        lines=[line(item) for item in series],
        x_ticks=[Tick(widths.across(epoch), str(epoch)) for epoch in _label_epochs(epochs[0], epochs[-1])],
        y_ticks=heights.label_heights(percent=percent),
        marked_x=widths.across(marked_epoch),
    )


def _label_epochs(first: int, last: int) -> list[int]:
    """Return whole numbers to label: all of a few, of many the first and the round ones."""
    if last - first < 12:
        return list(range(first, last + 1))
    step = round(round_step((last - first) * 5 / 8))
    return [first, *(epoch for epoch in range(step, last + 1, step) if epoch - first > step / 2)]
