"""How much two tested configurations differ on the same test images, and whether chance explains it.

A configuration is one run, or several that differ only in their seed; its metrics are the means over its
runs. Intervals and tests are paired: what counts is where the two differ, image by image. Images of one group
tend to be right or wrong together, so a group counts as one observation.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from stages.evaluate.calibration import assign_bins
from stages.evaluate.intervals import LEVEL, MIN_GROUPS, compute_flip_p_value
from stages.evaluate.metrics import MIN_CLASS_GROUPS, TALLY_METRICS, differentiate
from stages.evaluate.predictions import Floats, Ints, Predictions, split_by_class
from stages.vision.binomial import Interval
from stages.vision.guarantees import count_effective

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")
LOWER_IS_BETTER = frozenset({"log_loss", "ece"})

_POWER = 0.8
_MIN_DEGREES = 1.0


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
class ClassChange:
    """What became of the recall of one class."""

    label: int
    support: int
    first: float
    other: float
    p_value: float
    """Corrected for the number of classes."""


@dataclass(frozen=True)
class Comparison:
    """Another configuration against the first, on N images."""

    differences: Sequence[Difference]
    fixed: Ints
    """Images that all runs of the first got wrong most often, and those of the other right; int64."""

    broken: Ints
    classes: Sequence[ClassChange]
    p_value: float
    """Probability of such a difference in accuracy, or a larger one, if there is none."""

    num_images_needed: float | None
    """Test images with which 80 % of test sets would tell such a difference; None if there is none."""

    def find(self, name: str) -> Difference:
        """Return the difference of a metric."""
        return next(each for each in self.differences if each.name == name)


def compare(first: Sequence[Predictions], other: Sequence[Predictions], groups: Ints) -> Comparison:
    """Compare two configurations on the same images.

    The standard error of a difference follows from what each group adds to it, as in the report's
    `estimate_smooth` (the paired bootstrap over groups, to first order), and from how the metric varies with
    the seed. Satterthwaite's degrees of freedom widen the interval where few groups or seeds decide.

    Args:
        first: A run for each seed, on N images with the same labels.
        other: The same of the other configuration.
        groups: int64 (N,), the group of each image, from 0 without gaps.
    """
    labels = first[0].labels
    rough = _list_rough(labels, groups)
    differences = []
    for name in METRICS:
        sides = [_measure_runs(name, runs) for runs in (first, other)]
        before, after = (side.value for side in sides)
        influence = sides[1].influence - sides[0].influence
        error = _estimate_error(influence, groups, seeds=[side.seeds for side in sides])
        interval = None if name in rough else error.around(after - before)
        differences.append(Difference(name, before, after, interval))

    correct = [np.stack([run.is_correct for run in runs]).astype(np.float64) for runs in (first, other)]
    shares = [side.mean(axis=0) for side in correct]
    change = _compare_shares(correct, groups)
    classes = []
    for images in filter(len, split_by_class(labels)):
        _, own_groups = np.unique(groups[images], return_inverse=True)
        classes.append(_compare_shares([side[:, images] for side in correct], own_groups))
    corrected = correct_for_many([each.p_value for each in classes])
    return Comparison(
        differences=differences,
        fixed=np.flatnonzero((shares[0] < 0.5) & (shares[1] > 0.5)),
        broken=np.flatnonzero((shares[0] > 0.5) & (shares[1] < 0.5)),
        classes=[
            ClassChange(label, each.num_images, each.first, each.other, p_value)
            for label, each, p_value in zip(np.unique(labels).tolist(), classes, corrected, strict=True)
        ],
        p_value=change.p_value,
        num_images_needed=change.num_images_needed,
    )


def estimate(runs: Sequence[Predictions], groups: Ints) -> dict[str, tuple[float, Interval | None]]:
    """Return the metrics of one configuration with their 95 % confidence intervals, as `compare` has them.

    Args:
        runs: A run for each seed, on N images with the same labels.
        groups: int64 (N,), the group of each image, from 0 without gaps.
    """
    rough = _list_rough(runs[0].labels, groups)
    estimates = {}
    for name in METRICS:
        side = _measure_runs(name, runs)
        interval = _estimate_error(side.influence, groups, seeds=[side.seeds]).around(side.value)
        if name in rough:
            interval = None
        elif interval is not None:
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
    """The standard error of a difference, with its degrees of freedom."""

    value: float
    degrees: float
    of_images: float
    """The part of the variance that more images would lower."""

    def around(self, difference: float) -> Interval | None:
        """Return the 95 % confidence interval; None where too few groups differ."""
        if self.degrees < _MIN_DEGREES:
            return None
        reach = float(stdtrit(self.degrees, 1 - LEVEL / 2)) * self.value
        return Interval(difference - reach, difference + reach)

    def test(self, difference: float) -> float:
        """Return the two-sided p-value of there being no difference."""
        if self.degrees < _MIN_DEGREES:
            return 1.0
        return float(2 * stdtr(self.degrees, -abs(difference) / self.value))


def _estimate_error(influence: Floats, groups: Ints, *, seeds: Sequence[Sequence[float]]) -> _Error:
    """Return the standard error of a difference.

    Args:
        influence: (N,), its derivative by each image's weight; adds up to 0.
        groups: int64 (N,).
        seeds: For each configuration the metric of each run.
    """
    squares = np.square(np.bincount(groups, weights=influence))
    of_images = float(squares.sum())
    if of_images == 0 or count_effective(groups) < MIN_GROUPS:
        return _Error(0.0, 0.0, of_images)
    parts = [(of_images, of_images**2 / float(np.square(squares).sum()) - 1)]
    if several := [values for values in seeds if len(values) > 1]:
        # Both configurations are taken to vary alike with the seed: three runs alone say little about it.
        degrees = sum(len(values) - 1 for values in several)
        variance = sum(float(np.var(values)) * len(values) for values in several) / degrees
        parts.append((variance * sum(1 / len(values) for values in seeds), degrees))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / degrees for part, degrees in parts if degrees > 0)
    return _Error(variance**0.5, variance**2 / spread if spread else 0.0, of_images)


@dataclass(frozen=True)
class _Change:
    """The share of correct predictions for some images, by two configurations."""

    num_images: int
    first: float
    other: float
    p_value: float
    num_images_needed: float | None


def _compare_shares(correct: Sequence[Floats], groups: Ints) -> _Change:
    """Compare which predictions of two configurations are correct, (runs, N) each."""
    shares = [side.mean(axis=0) for side in correct]
    before, after = (float(each.mean()) for each in shares)
    change, num_images = shares[1] - shares[0], len(groups)
    influence = (change - change.mean()) / num_images
    error = _estimate_error(influence, groups, seeds=[side.mean(axis=1).tolist() for side in correct])
    # Exact where both have one run; a t-test where the seed counts too.
    if all(len(side) == 1 for side in correct):
        p_value = compute_flip_p_value(change.astype(np.int64), groups)
    else:
        p_value = error.test(after - before)
    needed = None
    if before != after:
        reach = float(ndtri(1 - LEVEL / 2) + ndtri(_POWER)) / (after - before)
        needed = num_images * error.of_images * reach**2
    return _Change(num_images, before, after, p_value, needed)


class _Side(NamedTuple):
    """A metric of one configuration."""

    value: float
    influence: Floats
    """(N,), its derivative by each image's weight; adds up to 0."""

    seeds: list[float]
    """Of each run."""


def _measure_runs(name: str, runs: Sequence[Predictions]) -> _Side:
    """Return a metric's mean over the runs."""
    values, influences = zip(*(_measure(name, run) for run in runs), strict=True)
    return _Side(float(np.mean(values)), np.mean(influences, axis=0), list(values))


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
        "ece": _divide_gaps,
    }
    parts = measure[name](run)
    value = float(parts.mean())
    return value, (parts - value) / len(parts)


def _divide_gaps(run: Predictions) -> Floats:
    """Return what each image adds to the calibration error (N,): its gap, signed as that of its bin is."""
    bin_of = assign_bins(run.confidence)
    gaps = run.confidence - run.is_correct
    sums = np.bincount(bin_of, weights=gaps)
    return np.asarray(np.sign(sums)[bin_of] * gaps)
