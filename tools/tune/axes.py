"""Axes of the tuning page's charts: where a setting or a metric's value lies, and how it is written there."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from pydantic import JsonValue

from schemas.tune.tune import Distribution, IntRange, LogRange, UniformRange
from tools.tune.trials import Search

_MAX_CHOICE_TICKS = 8
_MAX_DECADES = 6
_SHOWN_SPREAD = 4.0
"""What is farther from the best than four times the median trial is drawn at the edge."""


Tick = tuple[float, str]
"""Where a mark on an axis is, from 0 to 1, and its label."""


@dataclass(frozen=True)
class Axis:
    """A range of numbers, or a list of choices side by side."""

    ticks: Sequence[Tick]
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: Sequence[str] = ()
    """As JSON; empty for numbers."""

    def place(self, value: JsonValue) -> float:
        """Return where a value lies, from 0 to 1; numbers beyond an end lie on it."""
        if self.choices:
            return (self.choices.index(_to_json(value)) + 0.5) / len(self.choices)
        number = _to_number(value)
        low, high = (math.log(self.low), math.log(self.high)) if self.is_log else (self.low, self.high)
        part = ((math.log(number) if self.is_log else number) - low) / (high - low)
        return min(1.0, max(0.0, part))

    def encode(self, value: JsonValue) -> float | int:
        """Return a number's place, or the number of a choice."""
        return self.choices.index(_to_json(value)) if self.choices else self.place(value)

    def holds(self, number: float) -> bool:
        """Tell numbers on the axis from those beyond its ends."""
        return self.low <= number <= self.high


def build_setting_axis(distribution: Distribution, values: Iterable[JsonValue]) -> Axis:
    """Return the axis of a setting; values that the space no longer has widen it."""
    values = list(values)
    if not isinstance(distribution, LogRange | UniformRange | IntRange):
        by_json = {_to_json(value): value for value in (*distribution, *values)}
        stride = -(-len(by_json) // _MAX_CHOICE_TICKS)
        ticks = [
            ((place + 0.5) / len(by_json), write_setting(value))
            for place, value in enumerate(by_json.values())
            if place % stride == 0
        ]
        return Axis(ticks, choices=tuple(by_json))
    numbers = [_to_number(value) for value in values]
    if isinstance(distribution, LogRange):
        numbers += distribution.log
        low, high = min(numbers), max(numbers)
        return Axis(_list_log_ticks(low, high), low, high, is_log=True)
    ends = distribution.uniform if isinstance(distribution, UniformRange) else distribution.int
    numbers += [float(end) for end in ends]
    low, high = min(numbers), max(numbers)
    step = _round_step((high - low) / 4)
    if isinstance(distribution, IntRange):
        step = max(1.0, step)
    return Axis(_list_ticks(low, high, step, scale=1.0, unit=""), low, high)


def build_value_axis(search: Search) -> Axis:
    """Return the axis of the metric, on which the good trials can be told apart.

    Trials that went astray would press all others together: they lie beyond its end.
    """
    sign = find_sign(search)
    values = [sign * trial.value for trial in search.trials if trial.value is not None]
    values += [] if search.baseline is None else [sign * search.baseline]
    best = min(values, default=0.0)
    limit = best + _SHOWN_SPREAD * (median(values or [0.0]) - best)
    shown = [value for value in values if value <= limit] if limit > best else values
    if search.baseline is not None:
        shown.append(sign * search.baseline)
    ends = sorted(sign * value for value in (best, max(shown, default=0.0)))
    is_fraction = not search.metric.endswith("loss")
    if ends[1] - ends[0] < 1e-9:
        ends = [ends[0] - 0.05, ends[1] + 0.05]
    step = _round_step((ends[1] - ends[0]) / 5)
    # 1e-9: an end that is a whole number of steps but for rounding needs no further step.
    low, high = math.floor(ends[0] / step + 1e-9) * step, math.ceil(ends[1] / step - 1e-9) * step
    if is_fraction:
        low, high = max(0.0, low), min(1.0, high)
    scale, unit = (100.0, " %") if is_fraction else (1.0, "")
    return Axis(_list_ticks(low, high, step, scale=scale, unit=unit), low, high)


def write_value(metric: str, value: float) -> str:
    """Write a value of the metric: a loss as a number, a fraction in percent."""
    return f"{value:#.4g}".rstrip(".") if metric.endswith("loss") else f"{100 * value:.2f} %"


def write_setting(value: JsonValue) -> str:
    """Write a setting as a person reads it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def find_sign(search: Search) -> int:
    """Return 1 if lower is better, otherwise -1."""
    return 1 if search.direction == "minimize" else -1


def list_counts(first: int, last: int) -> list[int]:
    """Return whole numbers to label on an axis of epochs or trials: round ones."""
    step = max(1, round(_round_step((last - first) / 6))) if last > first else 1
    return [number for number in range(first, last + 1) if number % step == 0 or number == first == last]


def _list_ticks(low: float, high: float, step: float, *, scale: float, unit: str) -> list[Tick]:
    decimals = max(0, -math.floor(math.log10(step * scale) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [
        ((number * step - low) / (high - low), f"{scale * number * step + 0.0:.{decimals}f}{unit}")
        for number in range(first, last + 1)
    ]


def _list_log_ticks(low: float, high: float) -> list[Tick]:
    """Return powers of ten, or within one decade or two 1, 2 and 5 times them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1.0,) if last - first > 2 else (1.0, 2.0, 5.0)
    step = -(-(last - first) // _MAX_DECADES)
    values = [factor * 10.0**power for power in range(first, last + 1, step) for factor in factors]
    inside = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return [(math.log(value / low) / math.log(high / low), f"{value:g}") for value in inside or (low, high)]


def _round_step(rough: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... times a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _to_number(value: JsonValue) -> float:
    assert isinstance(value, int | float), f"{value!r} lies on no axis of numbers"
    return float(value)


def _to_json(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
