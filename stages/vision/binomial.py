"""The confidence interval of a share of images."""

from typing import NamedTuple

from scipy.special import betaincinv

from stages.vision.guarantees import Bools, Ints, count_effective

TAIL = 0.025
"""What a 95 % interval leaves out on either side."""


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def estimate_share(is_counted: Bools, groups: Ints, *, num_comparisons: int = 1) -> Interval:
    """Return Clopper and Pearson's interval for the share of images (N,) that are counted; N is at least 1.

    It contains the true share in 95 % of all test sets or more, also where all or none are counted.
    Source: Clopper and Pearson 1934, doi:10.2307/2331986; the number of images is the effective one.

    Args:
        is_counted: bool (N,).
        groups: int64 (N,), the group of each image.
        num_comparisons: How many such intervals are to contain their true shares all together (Bonferroni).
    """
    tail = TAIL / num_comparisons
    share, number = float(is_counted.mean()), count_effective(groups)
    counted = share * number
    low = betaincinv(counted, number - counted + 1, tail) if share > 0 else 0.0
    high = betaincinv(counted + 1, number - counted, 1 - tail) if share < 1 else 1.0
    return Interval(float(low), float(high))
