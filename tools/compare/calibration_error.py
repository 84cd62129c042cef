"""What is behind a calibration error that was measured on few images.

The expected calibration error adds up the gaps of its bins without their signs, so chance alone makes it
large, and larger for a calibrated network than for one that is wrong by more than chance: a standard error
around the measured value misses the truth. Here every gap is taken to be normal, of as many of its standard
errors as all others. Then the measured value says which errors explain it.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from stages.evaluate.calibration import assign_bins
from stages.evaluate.predictions import Floats, Ints, Predictions
from stages.vision.binomial import Interval

_NUM_STEPS = 2000

_WIDER = 1.15
"""Gaps are not all of as many standard errors: without it, as few as .85 of the intervals held the truth."""


class TrueError(NamedTuple):
    """The calibration error without the chance of which images were tested."""

    value: float
    interval: Interval
    """95 %; the measured error lies in it."""

    slope: float
    """From 0 to 1: how much of a change in the gaps the measured error shows."""


def divide_gaps(run: Predictions) -> Floats:
    """Return what each image adds to the measured error (N,): its gap, signed as that of its bin is."""
    bin_of = assign_bins(run.confidence)
    gaps = run.confidence - run.is_correct
    sums = np.bincount(bin_of, weights=gaps)
    return np.asarray(np.sign(sums)[bin_of] * gaps)


def measure_noise(run: Predictions, groups: Ints) -> float:
    """Return the standard errors of the gaps of all bins, added up: by what chance blurs them.

    Args:
        run: Predictions for N images.
        groups: int64 (N,), the group of each image, from 0 without gaps.
    """
    bin_of = assign_bins(run.confidence)
    num_bins, num_groups = int(bin_of.max()) + 1, int(groups.max()) + 1
    pairs, pair_of = np.unique(groups * num_bins + bin_of, return_inverse=True)
    gaps = np.bincount(pair_of, weights=(run.confidence - run.is_correct) / run.num_images)
    bins = pairs % num_bins
    squares = np.bincount(bins, weights=np.square(gaps))
    variances = squares - np.square(np.bincount(bins, weights=gaps)) / num_groups
    return float(np.sqrt(np.maximum(variances, 0.0)).sum())


def explain(measured: float, *, noise: float, reach: float) -> TrueError:
    """Return which true errors explain a measured one.

    A gap of z standard errors is measured as h(z) of them on average, without its sign, with a variance of
    1 + z^2 - h(z)^2 instead of 1: Leone et al. 1961, The Folded Normal Distribution, doi:10.2307/1266560.

    Args:
        measured: The error on the test images.
        noise: Of `measure_noise`.
        reach: Half of its 95 % confidence interval, if gaps had no signs to lose.
    """
    z = np.linspace(0.0, (measured + _WIDER * reach) / noise, _NUM_STEPS)
    shown = 2 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi) + z * (2 * ndtr(z) - 1)
    reaches = _WIDER * reach * np.sqrt(np.maximum(1 + z * z - shown * shown, 0.0))
    shown *= noise
    value = float(np.interp(measured, shown, z))  # 0 where chance alone shows as much
    low = float(np.interp(measured, shown + reaches, z))
    high = z[np.flatnonzero(shown - reaches <= measured)[-1:]].sum()  # the highest, or 0
    return TrueError(
        noise * value, Interval(noise * low, max(measured, noise * high)), float(2 * ndtr(value) - 1)
    )


def bound_difference(first: TrueError, other: TrueError, *, correlation: float) -> Interval:
    """Return the 95 % confidence interval of other - first.

    Source: Zou and Donner 2008, doi:10.1002/sim.3095 (MOVER).

    Args:
        first: Of one configuration.
        other: Of another, on the same images.
        correlation: Of their gaps.
    """
    shared = 2 * correlation * first.slope * other.slope
    value = other.value - first.value

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(0.0, a * a + b * b - shared * a * b)))

    low = reach(other.value - other.interval.low, first.interval.high - first.value)
    high = reach(other.interval.high - other.value, first.value - first.interval.low)
    return Interval(value - low, value + high)
