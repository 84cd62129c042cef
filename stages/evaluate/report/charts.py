"""Line charts, laid out here as text with fixed decimals and drawn as SVG by the template.

Learning curves over the epochs, ROC and precision-recall curves, the reliability diagram, the risk-coverage
curve.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.evaluate.test_metrics import ClassScores
from schemas.vision.checkpoint import EpochRecord, History
from stages.evaluate.calibration import CalibrationReport, Reliability, SelectivePrediction
from stages.evaluate.curves import ClassCurves, Point
from stages.pages import wording

WIDTH, HEIGHT = 480, 318
LEFT, RIGHT, TOP, BOTTOM = 58, 466, 34, 274
_INSET = 8
_MAX_DOTS = 40
_MAX_EPOCHS = 200
_NUM_NAMED_CURVES = 4


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    position: str
    label: str


@dataclass(frozen=True)
class Line:
    """A curve in drawing coordinates."""

    name: str
    """In the legend, as text or safe HTML; empty for a line that shares the name of another."""

    title: str
    """What a pointer that rests on the line is told."""

    css_class: str
    points: str
    dots: list[tuple[str, str, str]]
    """Positions and radii; empty where dots would overlap."""

    marked: tuple[str, str] | None
    """Where the curve is at the best epoch."""


@dataclass(frozen=True)
class LineChart:
    """One chart, ready to be drawn."""

    key: str
    """Prefix of the ids inside the drawing."""

    title: str
    long_title: str
    """The title for screen readers, which do not see the axes."""

    x_label: str
    y_label: str
    marked_label: str
    """What the vertical line marks."""

    description: str
    """What the chart shows, for screen readers."""

    meaning: str
    """How to read it."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marked_x: str | None
    """Where the vertical line is, if there is one."""


@dataclass(frozen=True)
class EpochSeries:
    """One line over the epochs: its name in the legend, the CSS class that styles it, a value per epoch."""

    name: str
    css_class: str
    values: Sequence[float]


@dataclass(frozen=True)
class FractionCurve:
    """One line through points (x, y), both fractions."""

    name: str
    css_class: str
    points: Sequence[tuple[float, float]]
    weights: Sequence[float] = ()
    """One per point, from 0 to 1: the larger, the larger its dot. No dots without weights."""

    title: str = ""


@dataclass(frozen=True)
class _Axis:
    """A range of values, from one whole step to another."""

    low: float
    high: float
    step: float

    def to_x(self, value: float) -> str:
        return f"{LEFT + _INSET + self._fraction(value) * (RIGHT - LEFT - 2 * _INSET):.1f}"

    def to_y(self, value: float) -> str:
        return f"{BOTTOM - self._fraction(value) * (BOTTOM - TOP):.1f}"

    def list_y_ticks(self, *, percent: bool) -> list[Tick]:
        """Return a tick at each step, with as few decimals as tell them apart."""
        scale, unit = (100, " %") if percent else (1, "")
        decimals = max(0, -math.floor(math.log10(self.step * scale) + 1e-9))
        num_steps = round((self.high - self.low) / self.step)
        values = [self.low + number * self.step for number in range(num_steps + 1)]
        return [Tick(self.to_y(value), f"{scale * value:.{decimals}f}{unit}") for value in values]

    def _fraction(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


def choose_epochs(history: History) -> list[EpochRecord]:
    """Return all epochs, or of many an even choice that includes the first, the best and the last."""
    last = len(history.epochs) - 1
    stride = -(-len(history.epochs) // _MAX_EPOCHS)
    return [
        record
        for place, record in enumerate(history.epochs)
        if place % stride == 0 or place == last or record.epoch == history.best_epoch
    ]


def build_learning_curves(history: History) -> list[LineChart]:
    """Return the charts of loss and accuracy over the epochs."""
    epochs = choose_epochs(history)

    numbers = [each.epoch for each in epochs]

    def describe(values: list[float], *, percent: bool) -> str:
        first, last = (wording.percent(v) if percent else f"{v:.3g}" for v in (values[0], values[-1]))
        return f"{first} in epoch {numbers[0]}, {last} in epoch {numbers[-1]}"

    def build(title: str, train: list[float], val: list[float], *, meaning: str, percent: bool) -> LineChart:
        return build_epoch_chart(
            [EpochSeries("training", "train", train), EpochSeries("validation", "val", val)],
            key=title.lower(),
            title=title,
            description=f"Training: {describe(train, percent=percent)}. "
            f"Validation: {describe(val, percent=percent)}.",
            meaning=meaning,
            epochs=numbers,
            marked_epoch=history.best_epoch,
            percent=percent,
        )

    rates = [each.lr for each in epochs]
    return [
        build(
            "Loss",
            [each.train_loss for each in epochs],
            [each.val.loss for each in epochs],
            meaning="Lower is better. If validation loss rises while training loss still falls, the network "
            "is overfitting.",
            percent=False,
        ),
        build(
            "Accuracy",
            [each.train_accuracy for each in epochs],
            [each.val.accuracy for each in epochs],
            meaning="Higher is better.",
            percent=True,
        ),
        build_epoch_chart(
            [EpochSeries("learning rate", "val", rates)],
            key="lr",
            title="Learning rate",
            description=f"{describe(rates, percent=False)}.",
            meaning="At the end of each epoch, as lr_scheduler sets it.",
            epochs=numbers,
            marked_epoch=history.best_epoch,
            percent=False,
        ),
    ]


def build_class_curves(curves: Sequence[ClassCurves], *, per_class: Sequence[ClassScores]) -> list[LineChart]:
    """Return the precision-recall and the ROC chart, a line for each class.

    The four classes of the lowest average precision have colors and names; a pointer names the others.

    Args:
        curves: Of the classes that are drawn.
        per_class: The scores of all classes, in class order.
    """
    hardest = sorted(curves, key=lambda curve: per_class[curve.label].average_precision or 0.0)
    named = hardest[:_NUM_NAMED_CURVES]
    ordered = [*hardest[_NUM_NAMED_CURVES:], *named]  # the last is drawn on top

    def draw(points: Callable[[ClassCurves], Sequence[Point]]) -> list[FractionCurve]:
        lines: list[FractionCurve] = []
        num_others = len(ordered) - len(named)
        for curve in ordered:
            scores = per_class[curve.label]
            name: str = wording.brief_name(scores.label)
            css_class = f"class-{named.index(curve) + 1}" if curve in named else "others"
            if curve not in named:
                name = wording.plural(num_others, "other class", "other classes") if not lines else ""
            if points(curve):
                lines.append(FractionCurve(name, css_class, points(curve), title=wording.brief(scores.label)))
        return lines

    return [
        build_fraction_chart(
            draw(lambda curve: curve.precision_recall),
            key="precision-recall",
            title="Precision-recall curves",
            description="The areas under the curves are the average precisions in the table of the classes.",
            meaning="Each class against all others as its threshold falls; the nearer to the top right, the "
            "better.",
            x_label="recall",
            y_label="precision",
            top=1.0,
        ),
        build_fraction_chart(
            [FractionCurve("guessing", "ideal", [(0.0, 0.0), (1.0, 1.0)]), *draw(lambda curve: curve.roc)],
            key="roc",
            title="ROC curves",
            description="The mean of the areas under the curves of all classes is the metric ROC AUC.",
            meaning="The nearer to the top left, the better; guessing gives the diagonal.",
            x_label="false positive rate",
            y_label="true positive rate",
            top=1.0,
        ),
    ]


def build_reliability_diagram(calibration: CalibrationReport) -> LineChart:
    """Return the chart of accuracy over confidence, before and after calibration."""

    def curve(name: str, css_class: str, reliability: Reliability) -> FractionCurve:
        total = sum(each.num_images for each in reliability.bins)
        return FractionCurve(
            name,
            css_class,
            [(each.confidence, each.accuracy) for each in reliability.bins],
            [each.num_images / total for each in reliability.bins],
        )

    return build_fraction_chart(
        [
            FractionCurve("perfect calibration", "ideal", [(0.0, 0.0), (1.0, 1.0)]),
            curve("before temperature scaling", "train", calibration.before),
            curve("after", "val", calibration.after),
        ],
        key="reliability",
        title="Reliability diagram: accuracy by confidence",
        description=(
            f"Expected calibration error {wording.percent(calibration.before.error)} before temperature "
            f"scaling, {wording.percent(calibration.after.error)} after. The numbers are in the table below."
        ),
        meaning=(
            "On the thin line, predictions of 80 % confidence are correct 80 % of the time. Above it the "
            "network is underconfident, below it overconfident."
        ),
        x_label="confidence (larger dots: more images)",
        y_label="accuracy",
        top=1.0,
    )


def build_risk_coverage_chart(selective: SelectivePrediction) -> LineChart:
    """Return the chart of the error rate over the fraction of predictions that are kept."""
    points = selective.risk_coverage
    return build_fraction_chart(
        [FractionCurve("error rate of the predictions kept", "val", points)],
        key="risk",
        title="Risk-coverage curve: error rate by coverage",
        description=(
            f"The error rate is {wording.percent(points[-1][1])} on all images, and "
            f"{wording.percent(points[len(points) // 2][1])} on the more confident half."
        ),
        meaning=(
            "From right to left, more of the least confident predictions are rejected: the error rate of "
            "the rest should fall."
        ),
        x_label="coverage: fraction of the images kept",
        y_label="error rate",
        top=max(risk for _, risk in points),
        marked_x=selective.coverage if selective.threshold else None,
        marked_label=f"threshold for {wording.percent(selective.target_accuracy)} accuracy",
    )


def build_epoch_chart(
    series: Sequence[EpochSeries],
    *,
    key: str,
    title: str,
    description: str,
    meaning: str,
    epochs: Sequence[int],
    marked_epoch: int | None,
    percent: bool,
) -> LineChart:
    """Lay out a line for each series over the epochs.

    Args:
        series: At least one, each with as many values as there are epochs, or fewer.
        key: Prefix of the ids inside the drawing.
        title: What the chart shows.
        description: The same for screen readers.
        meaning: How to read it.
        epochs: Numbers of the horizontal axis, ascending.
        marked_epoch: Where the vertical line is, if there is one.
        percent: Whether the values are fractions, labeled in percent.
    """
    values = [value for each in series for value in each.values]
    lowest = min(values) if percent else min(0.0, *values)
    y_axis = _fit_axis(lowest, max(values), floor=min(0.0, lowest), ceiling=1.0 if percent else math.inf)
    x_axis = _Axis(epochs[0], epochs[-1], 1)

    def line(each: EpochSeries) -> Line:
        places = [
            (x_axis.to_x(epoch), y_axis.to_y(value))
            for epoch, value in zip(epochs, each.values, strict=False)
        ]
        return Line(
            name=each.name,
            title=each.name,
            css_class=each.css_class,
            points=_join_points(places),
            dots=[(*place, "2.5") for place in places] if len(places) <= _MAX_DOTS else [],
            marked=None if marked_epoch is None else places[list(epochs).index(marked_epoch)],
        )

    return LineChart(
        key=key,
        title=title,
        long_title=f"{title} after each epoch",
        x_label="epoch",
        y_label=title.lower(),
        marked_label="" if marked_epoch is None else f"best epoch: {marked_epoch}",
        description=description,
        meaning=meaning,
        lines=[line(each) for each in series],
        x_ticks=[Tick(x_axis.to_x(epoch), str(epoch)) for epoch in _label_epochs(epochs[0], epochs[-1])],
        y_ticks=y_axis.list_y_ticks(percent=percent),
        marked_x=None if marked_epoch is None else x_axis.to_x(marked_epoch),
    )


def build_fraction_chart(
    curves: Sequence[FractionCurve],
    *,
    key: str,
    title: str,
    description: str,
    meaning: str,
    x_label: str,
    y_label: str,
    top: float,
    marked_x: float | None = None,
    marked_label: str = "",
) -> LineChart:
    """Lay out curves of fractions over fractions, both axes in percent and from 0.

    Args:
        curves: At least one.
        key: Prefix of the ids inside the drawing.
        title: What the chart shows.
        description: The same for screen readers.
        meaning: How to read it.
        x_label: What the horizontal axis shows.
        y_label: What the vertical axis shows.
        top: The largest fraction on the vertical axis.
        marked_x: Where the vertical line is.
        marked_label: What it marks.
    """
    y_axis = _fit_axis(0.0, top, floor=0.0, ceiling=1.0)
    x_axis = _Axis(0.0, 1.0, 0.2)

    def line(curve: FractionCurve) -> Line:
        places = [(x_axis.to_x(x), y_axis.to_y(y)) for x, y in curve.points]
        radii = [f"{2 + 6 * math.sqrt(weight):.1f}" for weight in curve.weights]
        return Line(
            name=curve.name,
            title=curve.title or curve.name,
            css_class=curve.css_class,
            points=_join_points(places),
            dots=[(*place, radius) for place, radius in zip(places, radii, strict=False)],
            marked=None,
        )

    return LineChart(
        key=key,
        title=title,
        long_title=title,
        x_label=x_label,
        y_label=y_label,
        marked_label=marked_label,
        description=description,
        meaning=meaning,
        lines=[line(curve) for curve in curves],
        x_ticks=[Tick(x_axis.to_x(fifth / 5), f"{20 * fifth} %") for fifth in range(6)],
        y_ticks=y_axis.list_y_ticks(percent=True),
        marked_x=None if marked_x is None else x_axis.to_x(marked_x),
    )


def _fit_axis(low: float, high: float, *, floor: float, ceiling: float) -> _Axis:
    """Return an axis that holds all values from low to high.

    It is widened only if all values are the same, never below the floor or above the ceiling.
    """
    if high - low < 1e-9:
        low, high = max(floor, low - 0.05), min(ceiling, high + 0.05)
    step = _round_step(high - low)
    # 1e-9: a value that is a whole number of steps but for rounding needs no further step.
    return _Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step)


def _round_step(span: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... times a power of ten that cuts a span into five or fewer."""
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _label_epochs(first: int, last: int) -> list[int]:
    """Return the epochs to label: all of a few, of many the first and round numbers."""
    if last - first < 12:
        return list(range(first, last + 1))
    step = round(_round_step((last - first) * 5 / 8))
    return [first, *(epoch for epoch in range(step, last + 1, step) if epoch - first > step / 2)]


def _join_points(places: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
