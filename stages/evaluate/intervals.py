"""95 % confidence intervals for what was measured on the test images, and the test of a change in accuracy.

Images of one group (split.group, or copies of each other) tend to be correct or wrong together, so a group
counts as one observation. `python -m benchmarks.coverage` simulates how often they contain the truth.
"""

import numpy as np
from scipy.special import expit, logit, stdtrit

from stages.evaluate.predictions import Bools, Floats, Ints, split_by_class
from stages.vision.binomial import TAIL, Interval, estimate_share
from stages.vision.guarantees import count_effective

MIN_GROUPS = 30.0
"""Fewer groups, effectively, are too few for a standard error: with ten, as few as .54 of the intervals
contained the truth."""

LEVEL = 0.05
"""Of all verdicts of one comparison together: how often chance alone is called a difference, at most."""

_MIN_DECIDING_GROUPS = 2.0

_ROUNDING = 1e-18  # of a variance that is 0; one mistake in a million images makes 1e-12


def estimate_mean_share(is_counted: Bools, groups: Ints, labels: Ints) -> Interval:
    """Return the interval for the mean over the classes of the share of their images that are counted.

    Each class's own interval says how far its share may be off, to either side; these add up as the errors of
    numbers do that are independent, or correlated as far as classes have groups in common.
    Source: Zou and Donner 2008, doi:10.1002/sim.3095 (MOVER), with the intervals of `estimate_share`.

    Args:
        is_counted: bool (N,).
        groups: int64 (N,), the group of each image.
        labels: int64 (N,), its class; classes without images do not count.
    """
    shares = []
    parts = np.empty((len(labels), 2))
    for images in filter(len, split_by_class(labels)):
        counted, own_groups = is_counted[images], groups[images]
        low, high = estimate_share(counted, own_groups)
        share = float(counted.mean())
        # An image's part in it: the squares of what groups of one class have together add up to the square.
        reach = np.array([share - low, high - share])
        parts[images] = reach * count_effective(own_groups) ** 0.5 / len(images)
        shares.append(share)
    by_group = [np.bincount(groups, weights=side) for side in parts.T]
    below, above = (float(np.linalg.norm(side)) / len(shares) for side in by_group)
    mean = float(np.mean(shares))
    return Interval(max(0.0, mean - below), min(1.0, mean + above))


def estimate_smooth(
    value: float, influence: Floats, groups: Ints, *, bounds: tuple[float, float | None]
) -> Interval | None:
    """Return the interval of a metric that is a smooth function of the images' weights.

    Its standard error follows from what each group adds to it (the infinitesimal jackknife, which is the
    bootstrap over groups to first order). If a few groups make up most of it, as a handful of mistakes do,
    Student's t widens the interval. The logit of the value (its logarithm, if there is no upper bound) keeps
    it inside the bounds.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 21; degrees of freedom after
    Satterthwaite 1946, doi:10.2307/3002019.

    Args:
        value: The metric.
        influence: (N,), derivative of the metric by each image's weight; adds up to 0.
        groups: int64 (N,), from 0 without gaps.
        bounds: The lowest and the highest possible value.

    Returns:
        None where there are fewer than MIN_GROUPS groups, effectively, or hardly more than one of them makes
        up the standard error.
    """
    squares = np.square(np.bincount(groups, weights=influence))
    variance = squares.sum()
    if variance < _ROUNDING:
        return None
    num_effective = variance**2 / np.square(squares).sum()
    if num_effective < _MIN_DECIDING_GROUPS or count_effective(groups) < MIN_GROUPS:
        return None
    low, high = bounds
    reach = stdtrit(num_effective - 1, 1 - TAIL) * np.sqrt(variance)
    if high is None:
        factor = np.exp(reach / (value - low))
        return Interval(float(low + (value - low) / factor), float(low + (value - low) * factor))
    part = (value - low) / (high - low)
    if not 0 < part < 1:
        return None
    reach /= (high - low) * part * (1 - part)
    ends = low + (high - low) * expit(logit(part) + np.array([-reach, reach]))
    return Interval(*ends.tolist())


def compute_flip_p_value(change: Ints, groups: Ints) -> float:
    """Return the exact two-sided p-value of a change in accuracy: each group's is as likely its opposite.

    With every image a group of its own it is McNemar's exact test, doi:10.1007/BF02295996. In general it is
    the sign-flip permutation test over groups: the sum of +-|change| has the characteristic function
    prod cos(|change| t), which one Fourier transform turns into probabilities.

    Args:
        change: int64 (N,), 1 where a wrong prediction became right, -1 where a right one became wrong, or 0.
        groups: int64 (N,), the group of each image, from 0 without gaps.
    """
    totals = np.bincount(groups, weights=change).round().astype(np.int64)
    sizes, counts = np.unique(np.abs(totals[totals != 0]), return_counts=True)
    most = int((sizes * counts).sum())
    if most == 0:
        return 1.0
    angles = np.arange(most + 1) * (np.pi / (most + 1))  # sums run from -most to most
    spectrum = np.prod(np.cos(np.outer(angles, sizes)) ** counts, axis=1)
    # Sums lie on a grid of 2: half of the circle is enough, and index i stands for the sum 2 i - most.
    chances = np.real(np.fft.fft(spectrum * np.exp(1j * angles * most))) / (most + 1)
    sums = 2 * np.arange(most + 1) - most
    p_value = float(chances[np.abs(sums) >= abs(int(totals.sum()))].sum())
    return min(1.0, max(0.0, p_value))  # rounding may leave it 1e-16 below
