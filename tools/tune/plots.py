"""The charts of the tuning page, laid out here and drawn as SVG by its templates."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stages.pages.wording import plural
from tools.tune.axes import Axis, find_sign, list_counts, write_value
from tools.tune.trials import Search, Trial

_MAX_EPOCHS = 100
_NUM_TOP = 10
_CHOICE_WIDTH = 0.6
"""Trials of one choice lie side by side on so much of its room."""

_TITLES = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}

_LABEL_ROOM = 34
"""Characters that fit below a small chart."""


@dataclass(frozen=True)
class Frame:
    """Where a chart lies in its drawing, as the report's charts do."""

    width: int = 480
    height: int = 318
    left: int = 58
    right: int = 466
    top: int = 34
    bottom: int = 274


FRAME = Frame()


@dataclass(frozen=True)
class Label:
    """What is written beside an axis, and where."""

    position: str
    label: str


@dataclass(frozen=True)
class Mark:
    """A trial as a mark in a chart."""

    trial: int
    """Its number; of a repeat, that of the trial which it repeats."""

    kind: str
    """finished, pruned, failed or repeat; and `best`, or `beyond` the end of the axis."""

    x: str
    y: str
    title: str


@dataclass(frozen=True)
class Curve:
    """A line through a chart."""

    trial: int | None
    kind: str
    points: str
    title: str


@dataclass(frozen=True)
class Plot:
    """A chart of marks and lines."""

    key: str
    title: str
    description: str
    x_label: str
    x_ticks: Sequence[Label]
    y_ticks: Sequence[Label]
    marks: Sequence[Mark] = ()
    curves: Sequence[Curve] = ()
    baseline: str | None = None
    """Where the committed parameters lie."""

    is_staggered: bool = False
    """Whether every other label of the horizontal axis is lower, so that more fit."""

    is_titled: bool = True
    """Whether every mark says which trial it is, to a pointer that rests on it."""


@dataclass(frozen=True)
class ParallelAxis:
    """One axis of the parallel coordinates: its name, and ticks in percent of the width."""

    name: str
    ticks: Sequence[tuple[str, str]]
    is_choice: bool


def name_metric(metric: str) -> str:
    """Return `validation loss` for `val.loss`."""
    name = metric.removeprefix("val.")
    return f"validation {_TITLES.get(name, name)}"


def draw_history(search: Search, shown: Sequence[Trial], axis: Axis, best: int | None) -> Plot:
    """Return the value of every trial that is shown, failed or a repeat, and the best so far."""
    last = max(trial.number for trial in search.trials)
    x_axis = Axis((), 0.0, float(max(1, last)))
    sign, best_so_far, steps = find_sign(search), math.inf, list[str]()
    marks = []
    numbers = {trial.number for trial in shown}
    for trial in search.trials:
        x = _to_x(x_axis.place(trial.number))
        if trial.value is None:
            marks.append(
                Mark(trial.number, "failed", x, f"{FRAME.top - 11:.1f}", f"Trial {trial.number}: failed")
            )
            continue
        if trial.number in numbers or trial.confirms is not None:
            marks.append(_mark(search, trial, x, axis, best))
        if trial.state == "finished" and trial.confirms is None and sign * trial.value < best_so_far:
            if steps:
                steps.append(f"{x},{_to_y(axis.place(sign * best_so_far))}")
            best_so_far = sign * trial.value
            steps.append(f"{x},{_to_y(axis.place(trial.value))}")
    if steps:
        steps.append(f"{_to_x(1.0)},{_to_y(axis.place(sign * best_so_far))}")
    return Plot(
        key="history-chart",
        title=f"{name_metric(search.metric).capitalize()} of each trial",
        description="The values are in the table of the trials.",
        x_label="trial",
        x_ticks=[Label(_to_x(x_axis.place(number)), str(number)) for number in list_counts(0, last)],
        y_ticks=_to_y_ticks(axis),
        marks=_put_best_last(marks),
        curves=[Curve(None, "so-far", " ".join(steps), "best so far")] if len(steps) > 1 else (),
        baseline=None if search.baseline is None else _to_y(axis.place(search.baseline)),
    )


def draw_curves(search: Search, shown: Sequence[Trial], axis: Axis, best: int | None) -> Plot:
    """Return the validation curves of the trials; those of pruned ones end in a mark."""
    longest = max(len(trial.curve) for trial in shown)
    x_axis = Axis((), 1.0, float(max(2, longest)))
    stride = -(-longest // _MAX_EPOCHS)
    curves, marks = [], []
    # The best is drawn last, on top.
    for trial in reversed(shown):
        if not trial.curve:
            continue
        last = len(trial.curve)
        epochs = [epoch for epoch in range(1, last + 1) if epoch % stride == 0 or epoch in (1, last)]
        places = [(_to_x(x_axis.place(epoch)), _run_off(axis, trial.curve[epoch - 1])) for epoch in epochs]
        kind = "best" if trial.number == best else trial.state
        title = f"Trial {trial.number}: {write_value(search.metric, trial.curve[-1])} at the end"
        curves.append(Curve(trial.number, kind, " ".join(f"{x},{y}" for x, y in places), title))
        if len(places) == 1 or (trial.state == "pruned" and axis.holds(trial.curve[-1])):
            marks.append(Mark(trial.number, kind, *places[-1], title))
    return Plot(
        key="curves-chart",
        title=f"{name_metric(search.metric).capitalize()} after each epoch",
        description=f"Curves of {plural(len(curves), 'trial')}, of up to {plural(longest, 'epoch')}.",
        x_label="epoch",
        x_ticks=[Label(_to_x(x_axis.place(epoch)), str(epoch)) for epoch in list_counts(1, longest)],
        y_ticks=_to_y_ticks(axis),
        curves=curves,
        marks=marks,
    )


def draw_slice(
    search: Search, shown: Sequence[Trial], key: str, axis: Axis, value_axis: Axis, best: int | None
) -> Plot:
    """Return the trials' values against one setting; those of one choice lie side by side."""
    in_order = sorted(shown, key=lambda trial: trial.number)
    counts = Counter(axis.place(trial.settings[key]) for trial in in_order)
    seen: Counter[float] = Counter()
    marks = []
    for trial in in_order:
        place = axis.place(trial.settings[key])
        if axis.choices:
            part = (seen[place] + 0.5) / counts[place] - 0.5
            seen[place] += 1
            marks.append(
                _mark(
                    search, trial, _to_x(place + _CHOICE_WIDTH * part / len(axis.choices)), value_axis, best
                )
            )
        else:
            marks.append(_mark(search, trial, _to_x(place), value_axis, best))
    return Plot(
        key=f"slice-{list(search.space).index(key)}",
        title=key,
        description=f"{name_metric(search.metric).capitalize()} against {key}.",
        x_label="",
        x_ticks=[Label(_to_x(at), _shorten(label, axis)) for at, label in axis.ticks],
        y_ticks=_to_y_ticks(value_axis),
        marks=_put_best_last(marks),
        baseline=None if search.baseline is None else _to_y(value_axis.place(search.baseline)),
        is_staggered=_is_staggered(axis),
        is_titled=False,
    )


def _is_staggered(axis: Axis) -> bool:
    return bool(axis.choices) and len(axis.ticks) > 3


def _shorten(label: str, axis: Axis) -> str:
    """Cut a label to the room that it has beside the others."""
    room = _LABEL_ROOM * (2 if _is_staggered(axis) else 1) // max(1, len(axis.ticks))
    return label if not axis.choices or len(label) <= room else f"{label[: room - 1]}…"


def lay_out_axes(search: Search, axes: dict[str, Axis], value_axis: Axis) -> list[ParallelAxis]:
    """Return the axes of the parallel coordinates: the settings, then the metric."""
    named = [*axes.items(), (name_metric(search.metric), value_axis)]
    return [
        ParallelAxis(name, [(f"{100 * at:.2f}%", label) for at, label in axis.ticks], bool(axis.choices))
        for name, axis in named
    ]


def draw_parallel(
    search: Search, shown: Sequence[Trial], axes: dict[str, Axis], value_axis: Axis, best: int | None
) -> list[Curve]:
    """Return a line for each trial through all axes, x from 0 to 1000 and one step down for each axis."""
    top = {trial.number for trial in shown[: min(_NUM_TOP, -(-len(shown) // 4))] if trial.state == "finished"}
    curves = []
    for trial in reversed(shown):
        places = [axis.place(trial.settings[key]) for key, axis in axes.items()]
        places.append(value_axis.place(trial.value))
        points = " ".join(f"{1000 * place:.0f},{row}" for row, place in enumerate(places))
        kind = "best" if trial.number == best else "top" if trial.number in top else trial.state
        curves.append(Curve(trial.number, kind, points, _name(search, trial)))
    return sorted(curves, key=lambda curve: (curve.kind == "best", curve.kind == "top"))


def _mark(search: Search, trial: Trial, x: str, axis: Axis, best: int | None) -> Mark:
    value = trial.value or 0.0
    kind: str = "repeat" if trial.confirms is not None else trial.state
    if trial.number == best:
        kind += " best"
    if not axis.holds(value):
        kind += " beyond"
    proposed = trial.number if trial.confirms is None else trial.confirms
    return Mark(proposed, kind, x, _to_y(axis.place(value)), _name(search, trial))


def _name(search: Search, trial: Trial) -> str:
    what = "" if trial.state == "finished" else f" ({trial.state})"
    if trial.confirms is not None:
        what = f", trial {trial.confirms} on seed {trial.seed}"
    return f"Trial {trial.number}{what}: {write_value(search.metric, trial.value or 0.0)}"


def _put_best_last(marks: Sequence[Mark]) -> list[Mark]:
    return sorted(marks, key=lambda mark: "best" in mark.kind)


def _run_off(axis: Axis, value: float) -> str:
    """Return the y of a value, which may lie far outside the drawing: the curve is cut at its edge."""
    part = (value - axis.low) / (axis.high - axis.low)
    return _to_y(min(3.0, max(-2.0, part)))


def _to_x(fraction: float) -> str:
    return f"{FRAME.left + 8 + fraction * (FRAME.right - FRAME.left - 16):.1f}"


def _to_y(fraction: float) -> str:
    return f"{FRAME.bottom - fraction * (FRAME.bottom - FRAME.top):.1f}"


def _to_y_ticks(axis: Axis) -> list[Label]:
    return [Label(_to_y(at), label) for at, label in axis.ticks]
