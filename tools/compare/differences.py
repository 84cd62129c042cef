"""How much two tested configurations differ on the same test images, and whether chance explains it.

A configuration is one run, or several that differ only in their seed; its metrics are the means over its
runs. Intervals and tests are paired: what counts is where the two differ, image by image. Images of one group
tend to be right or wrong together, so a group counts as one observation.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from stages.evaluate.intervals import LEVEL, MIN_GROUPS, compute_flip_p_value
from stages.evaluate.metrics import MIN_CLASS_GROUPS, TALLY_METRICS, differentiate
from stages.evaluate.predictions import Floats, Ints, Predictions, split_by_class
from stages.vision.binomial import Interval
from stages.vision.guarantees import count_effective
from tools.compare.calibration_error import TrueError, bound_difference, divide_gaps, explain, measure_noise

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")
LOWER_IS_BETTER = frozenset({"log_loss", "ece"})

_POWER = 0.8
_MIN_DEGREES = 1.0
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """A metric of two configurations."""

    name: str
    first: float
    other: float
    interval: Interval | None
    """95 % confidence interval of other - first; None where too few groups differ for one."""

    @property
    def value(self) -> float:
        """Return other - first."""
        return self.other - self.first


@dataclass(frozen=True)
class Change:
    """What became of the share of correct predictions among some images."""

    num_images: int
    first: float
    other: float
    p_value: float
    """Probability of such a difference, or a larger one, if there is none."""

    num_images_needed: float | None
    """Images with which 80 % of test sets would tell such a difference; None if there is none."""


@dataclass(frozen=True)
class Comparison:
    """Another configuration against the first, on N images."""

    differences: Sequence[Difference]
    fixed: Ints
    """Images that most runs of the first got wrong, and most of the other right; int64."""

    broken: Ints
    overall: Change
    """Of all images."""

    classes: Mapping[int, Change]
    """Of the images of each class, by label; p-values are corrected for the number of classes."""

    def find(self, name: str) -> Difference:
        """Return the difference of a metric."""
        return next(each for each in self.differences if each.name == name)


def compare(
    first: Sequence[Predictions],
    other: Sequence[Predictions],
    groups: Ints,
    *,
    folds: tuple[Ints | None, Ints | None] = (None, None),
) -> Comparison:
    """Compare two configurations on the same images.

    The standard error of a difference follows from what each group adds to it, as in the report's
    `estimate_smooth` (the paired bootstrap over groups, to first order), and from how the metric varies with
    the seed. Satterthwaite's degrees of freedom widen the interval where few groups or seeds decide.

    Args:
        first: A run for each seed, on N images with the same labels.
        other: The same of the other configuration.
        groups: int64 (N,), the group of each image, from 0 without gaps.
        folds: For each configuration the fold that tested each image, int64 (N,); None without folds.
    """
    labels = first[0].labels
    rough = _list_rough(labels, groups)
    differences = []
    for name in METRICS:
        sides = [
            _add_runs([_measure(name, run) for run in runs], of)
            for runs, of in zip((first, other), folds, strict=True)
        ]
        value, interval = sides[1].value - sides[0].value, None
        if name == "ece":
            interval = _bound_ece(sides, (first, other), groups)
        elif name not in rough:
            interval = _compare_sides(sides, groups).around(value)
        differences.append(Difference(name, sides[0].value, sides[1].value, interval))

    correct = [np.stack([run.is_correct for run in runs]).astype(np.float64) for runs in (first, other)]
    shares = [side.mean(axis=0) for side in correct]
    classes = {}
    for images in filter(len, split_by_class(labels)):
        _, own_groups = np.unique(groups[images], return_inverse=True)
        own_folds = [None if each is None else each[images] for each in folds]
        some = [side[:, images] for side in correct]
        classes[int(labels[images[0]])] = _compare_shares(some, own_groups, own_folds)
    corrected = correct_for_many([each.p_value for each in classes.values()])
    return Comparison(
        differences=differences,
        fixed=np.flatnonzero((shares[0] < 0.5) & (shares[1] > 0.5)),
        broken=np.flatnonzero((shares[0] > 0.5) & (shares[1] < 0.5)),
        overall=_compare_shares(correct, groups, folds),
        classes={
            label: replace(each, p_value=p_value)
            for (label, each), p_value in zip(classes.items(), corrected, strict=True)
        },
    )


def estimate(
    runs: Sequence[Predictions], groups: Ints, *, folds: Ints | None = None
) -> dict[str, tuple[float, Interval | None]]:
    """Return the metrics of one configuration with their 95 % confidence intervals, as `compare` has them.

    Args:
        runs: A run for each seed, on N images with the same labels.
        groups: int64 (N,), the group of each image, from 0 without gaps.
        folds: int64 (N,), the fold that tested each image; None without folds.
    """
    rough = _list_rough(runs[0].labels, groups)
    estimates = {}
    for name in METRICS:
        side = _add_runs([_measure(name, run) for run in runs], folds)
        seeds = _pool_seeds([side])
        error = _estimate_error(side.influence, groups, seeds=seeds, num_runs=[len(runs)])
        if name == "ece":
            found = _explain_ece(side, runs, groups, seeds=seeds)
            interval = found and found.interval
        else:
            interval = None if name in rough else error.around(side.value)
        if interval is not None:
            highest = np.inf if name == "log_loss" else 1.0
            interval = Interval(max(0.0, interval.low), min(highest, interval.high))
        estimates[name] = side.value, interval
    return estimates


def correct_for_many(p_values: Sequence[float]) -> list[float]:
    """Return p-values after which a level holds for all of them together.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, at in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[at]))
        corrected[at] = highest
    return corrected


@dataclass(frozen=True)
class _Error:
    """The standard error of a metric or a difference, with its degrees of freedom."""

    value: float
    degrees: float
    of_images: float
    """The part of the variance that more images would lower."""

    @property
    def reach(self) -> float | None:
        """Return half the width of the 95 % confidence interval; None where too few groups differ."""
        return None if self.degrees < _MIN_DEGREES else float(stdtrit(self.degrees, 0.975)) * self.value

    def around(self, value: float) -> Interval | None:
        """Return the 95 % confidence interval; None where too few groups differ."""
        return None if self.reach is None else Interval(value - self.reach, value + self.reach)

    def test(self, difference: float) -> float:
        """Return the two-sided p-value of there being no difference."""
        if self.degrees < _MIN_DEGREES:
            return 1.0
        return float(2 * stdtr(self.degrees, -abs(difference) / self.value))


class _Side(NamedTuple):
    """A metric of one configuration."""

    value: float
    influence: Floats
    """(N,), its derivative by each image's weight; adds up to 0."""

    parts: Floats
    """(runs, folds): what each network adds to its run's value."""


class _Seeds(NamedTuple):
    """How a metric varies with the seed: networks of all folds and configurations are taken to vary alike."""

    variance: float
    """Of one run."""

    degrees: int


def _pool_seeds(sides: Sequence[_Side]) -> _Seeds:
    several = [side.parts for side in sides if len(side.parts) > 1]
    if not several:
        return _Seeds(0.0, 0)
    spread = sum(float(np.square(parts - parts.mean(axis=0)).sum()) for parts in several)
    variance = spread / sum(len(parts) - 1 for parts in several)
    return _Seeds(variance, sum((len(parts) - 1) * parts.shape[1] for parts in several))


def _estimate_error(influence: Floats, groups: Ints, *, seeds: _Seeds, num_runs: Sequence[int]) -> _Error:
    """Return the standard error of a metric or a difference.

    Args:
        influence: (N,), its derivative by each image's weight; adds up to 0.
        groups: int64 (N,).
        seeds: How one run varies.
        num_runs: Of each configuration that takes part.
    """
    squares = np.square(np.bincount(groups, weights=influence))
    of_images = float(squares.sum())
    if of_images == 0 or count_effective(groups) < MIN_GROUPS:
        return _Error(0.0, 0.0, of_images)
    parts = [(of_images, of_images**2 / float(np.square(squares).sum()) - 1)]
    if seeds.degrees:
        parts.append((seeds.variance * sum(1 / number for number in num_runs), seeds.degrees))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / degrees for part, degrees in parts if degrees > 0)
    return _Error(variance**0.5, variance**2 / spread if spread else 0.0, of_images)


def _compare_sides(sides: Sequence[_Side], groups: Ints) -> _Error:
    """Return the standard error of the second side's metric less the first's."""
    influence = sides[1].influence - sides[0].influence
    num_runs = [len(side.parts) for side in sides]
    return _estimate_error(influence, groups, seeds=_pool_seeds(sides), num_runs=num_runs)


def _bound_ece(
    sides: Sequence[_Side], configurations: Sequence[Sequence[Predictions]], groups: Ints
) -> Interval | None:
    """Return the interval of a difference of calibration errors, in which the measured one lies."""
    seeds = _pool_seeds(sides)
    found = [
        _explain_ece(side, runs, groups, seeds=seeds)
        for side, runs in zip(sides, configurations, strict=True)
    ]
    if found[0] is None or found[1] is None or _compare_sides(sides, groups).reach is None:
        return None
    by_group = [np.bincount(groups, weights=side.influence) for side in sides]
    correlation = float(np.dot(*by_group) / np.prod([np.linalg.norm(each) for each in by_group]))
    low, high = bound_difference(found[0], found[1], correlation=correlation)
    measured = sides[1].value - sides[0].value
    return Interval(min(low, measured), max(high, measured))


def _explain_ece(
    side: _Side, runs: Sequence[Predictions], groups: Ints, *, seeds: _Seeds
) -> TrueError | None:
    error = _estimate_error(side.influence, groups, seeds=seeds, num_runs=[len(runs)])
    noise = float(np.mean([measure_noise(run, groups) for run in runs]))
    if error.reach is None or noise < _ROUNDING:
        return None
    return explain(side.value, noise=noise, reach=error.reach)


def _compare_shares(correct: Sequence[Floats], groups: Ints, folds: Sequence[Ints | None]) -> Change:
    """Compare which predictions of two configurations are correct, (runs, N) each."""
    sides = [_add_runs([_average(run) for run in side], of) for side, of in zip(correct, folds, strict=True)]
    before, after = (side.value for side in sides)
    error = _compare_sides(sides, groups)
    # Exact where both have one run; a t-test where the seed counts too.
    if all(len(side) == 1 for side in correct):
        p_value = compute_flip_p_value((correct[1] - correct[0])[0].astype(np.int64), groups)
    else:
        p_value = error.test(after - before)
    needed = None
    if before != after:
        reach = float(ndtri(1 - LEVEL / 2) + ndtri(_POWER)) / (after - before)
        needed = len(groups) * error.of_images * reach**2
    return Change(len(groups), before, after, p_value, needed)


def _add_runs(measured: Sequence[tuple[float, Floats]], folds: Ints | None) -> _Side:
    """Return the mean over the runs, of each of which a value and its influence (N,) were measured."""
    values, influences = (np.array(each) for each in zip(*measured, strict=True))
    parts = values[:, None]
    if folds is not None:
        shares = np.bincount(folds) / len(folds)
        parts = parts * shares + np.array([np.bincount(folds, weights=each) for each in influences])
    return _Side(float(values.mean()), influences.mean(axis=0), parts)


def _list_rough(labels: Ints, groups: Ints) -> Collection[str]:
    """Return the metrics that have no interval: means over classes of which one has too few groups."""
    smallest = min(count_effective(groups[images]) for images in filter(len, split_by_class(labels)))
    return TALLY_METRICS if smallest < MIN_CLASS_GROUPS else ()


def _measure(name: str, run: Predictions) -> tuple[float, Floats]:
    """Return a metric, and its derivative by each image's weight (N,), which adds up to 0."""
    if name in TALLY_METRICS:
        return differentiate(TALLY_METRICS[name], run)
    measure: Mapping[str, Callable[[Predictions], Floats]] = {
        "accuracy": lambda run: run.is_correct.astype(np.float64),
        "log_loss": lambda run: run.losses,
        "ece": divide_gaps,
    }
    return _average(measure[name](run))


def _average(parts: Floats) -> tuple[float, Floats]:
    value = float(parts.mean())
    return value, (parts - value) / len(parts)
