"""Charts stay inside their frame and are true to scale."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from stages.evaluate.report import charts
from stages.evaluate.report.charts import EpochSeries, build_class_curves, build_epoch_chart
from stages.evaluate.report.render import render_report
from tests.evaluate.report_content import make_content


def _points(chart: charts.LineChart, line: int) -> Iterator[tuple[float, float]]:
    for point in chart.lines[line].points.split():
        across, down = point.split(",")
        yield float(across), float(down)


@pytest.mark.parametrize("values", [[0.5], [0.0], [1.0, 1.0], [0.31, 0.9, 0.55], [1e-7, 3e-7]])
@pytest.mark.parametrize(("is_percent", "factor"), [(True, 1), (False, 1), (False, 4e6), (False, -2)])
def test_chart_stays_inside_its_frame(values: list[float], is_percent: bool, factor: float) -> None:
    """Lines of any range, flat or a single point, stay inside the axes; labels differ and rise."""
    values = [factor * value for value in values]
    epochs = list(range(1, len(values) + 1))
    chart = build_epoch_chart(
        [EpochSeries("a", "train", values), EpochSeries("b", "val", values)],
        key="k",
        title="t",
        description="d",
        meaning="m",
        epochs=epochs,
        marked_epoch=epochs[-1],
        percent=is_percent,
    )
    for across, down in _points(chart, 1):
        assert charts.LEFT <= across <= charts.RIGHT
        assert charts.TOP - 0.1 <= down <= charts.BOTTOM + 0.1
    labels = [float(tick.label.removesuffix(" %")) for tick in chart.y_ticks]
    assert 2 <= len(labels) <= 7
    assert labels == sorted(set(labels))
    if is_percent:
        assert labels[0] >= 0
        assert labels[-1] <= 100


def test_chart_measures_true() -> None:
    """Heights are in proportion to the values, and higher values stand higher."""
    chart = build_epoch_chart(
        [EpochSeries("a", "val", [1.0, 0.0, 4.0])],
        key="k",
        title="t",
        description="d",
        meaning="m",
        epochs=[1, 2, 3],
        marked_epoch=2,
        percent=False,
    )
    (x1, y1), (x2, y2), (x3, y3) = _points(chart, 0)
    assert y2 - y3 == pytest.approx(4 * (y2 - y1))
    assert y1 < y2
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert chart.marked_x == f"{x2:.1f}"


@pytest.mark.parametrize("num_epochs", [1, 2, 12, 13, 90, 1000])
def test_epoch_labels_do_not_crowd(num_epochs: int) -> None:
    """However many epochs there are, the axis labels the first one and at most a dozen."""
    page = render_report(make_content(num_epochs=num_epochs))
    labels = re.findall(rf'y="{charts.BOTTOM + 20}"[^>]*>(\d+)<', page)
    assert labels[0] == "1"
    assert len(labels) // 3 <= 12


def test_class_curves_are_named() -> None:
    """The four classes of the lowest average precision have lines of their own; the others share a name."""
    names = [f"class {at}" for at in range(7)]
    content = make_content(classes=names, confusion=np.eye(7, dtype=np.int64))
    curves = [replace(content.curves[0], label=at) for at in range(7)]
    per_class = [
        scores.model_copy(update={"average_precision": at / 10})
        for at, scores in enumerate(content.per_class)
    ]
    for chart, num_guesses in zip(build_class_curves(curves, per_class=per_class), (0, 1), strict=True):
        lines = chart.lines[num_guesses:]
        assert [line.title for line in lines] == [names[at] for at in (4, 5, 6, 0, 1, 2, 3)]
        assert [line.css_class for line in lines[3:]] == ["class-1", "class-2", "class-3", "class-4"]
        assert [line.name for line in lines[:3]] == ["3 other classes", "", ""]


def test_resumed_history_may_begin_late() -> None:
    """Epochs are labeled by their number, not by their position in the list."""
    content = make_content(num_epochs=6, best_epoch=5)
    late = content.history.model_copy(update={"epochs": content.history.epochs[3:]})
    html = render_report(replace(content, history=late))
    assert re.findall(rf'y="{charts.BOTTOM + 20}"[^>]*>(\d+)<', html)[:3] == ["4", "5", "6"]
