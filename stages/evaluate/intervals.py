"""Figures with what they are worth: 95 % intervals by the percentile bootstrap.

Images that belong together, by split.group or because they are copies, are drawn together: they are right or
wrong together, and counted one by one they would make the intervals too narrow.
Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.answers import Answers, Flags
from stages.evaluate.figures import OF_TALLY
from stages.evaluate.ranking import Ranking
from stages.vision.scores import Numbers, Tally, tally_confusion

NUM_RESAMPLES = 1000
_SEED = 0
_BOUNDS_PERCENT = (2.5, 97.5)

Units = NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """A figure on the test split, and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def measure_figures(answers: Answers, *, ranking: Ranking, units: Units, top_k: int) -> list[Figure]:
    """Return every figure with its interval, the same on every run.

    For ROC AUC and average precision the images of a resample are not ranked anew, which would take minutes:
    to first order they change by the sum of the influences of the drawn images. A test holds the intervals
    against those of the plain bootstrap.
    Source: the infinitesimal jackknife; Efron and Tibshirani, chapter 21.

    Args:
        answers: For the test images.
        ranking: What was measured of them.
        units: int64 (N,), from 0 without gaps: images of one number are drawn together.
        top_k: How many classes an answer may name for top_k_accuracy.
    """
    means = {"top_k_accuracy": (answers.label_rank < top_k).astype(np.float64), "loss": answers.losses}
    tilts = {"roc_auc": ranking.roc_auc, "average_precision": ranking.average_precision}
    per_image = np.stack([*means.values(), *(each.influence for each in tilts.values())], axis=1)
    tallies, sums = _resample(answers, per_image=per_image, units=units)
    per_drawn_image = sums / tallies.total[:, None]
    tally = tally_confusion(answers.confusion)
    figures = [_figure(name, float(measure(tally)), measure(tallies)) for name, measure in OF_TALLY.items()]
    for place, (name, values) in enumerate(means.items()):
        figures.append(_figure(name, float(values.mean()), per_drawn_image[:, place]))
    for place, (name, separation) in enumerate(tilts.items(), start=len(means)):
        shifts = answers.num_images * per_drawn_image[:, place]
        figures.append(_figure(name, separation.mean, np.clip(separation.mean + shifts, 0, 1)))
    return figures


def _resample(answers: Answers, *, per_image: Numbers, units: Units) -> tuple[Tally, Numbers]:
    """Draw as many units as there are, with replacement, again and again.

    Returns:
        The tallies of all resamples, each (NUM_RESAMPLES, C), and the sums (NUM_RESAMPLES, K) of the columns
        of per_image (N, K) over the drawn images.
    """
    generator = np.random.default_rng(_SEED)
    num_units, num_classes = int(units.max()) + 1, answers.num_classes
    # Images are counted by what they are and were taken for, and those few counts by the one and the other.
    pairs, pair_of = np.unique(answers.labels * num_classes + answers.predicted, return_inverse=True)
    labels, predicted = np.divmod(pairs, num_classes)
    is_right = labels == predicted
    right, support, given = (np.empty((NUM_RESAMPLES, num_classes)) for _ in range(3))
    sums = np.empty((NUM_RESAMPLES, per_image.shape[1]))
    for number in range(NUM_RESAMPLES):
        times_drawn = np.bincount(generator.integers(num_units, size=num_units), minlength=num_units)
        weights = times_drawn.astype(np.float64)[units]
        counts = np.bincount(pair_of, weights=weights, minlength=len(pairs))
        right[number] = np.bincount(labels[is_right], weights=counts[is_right], minlength=num_classes)
        support[number] = np.bincount(labels, weights=counts, minlength=num_classes)
        given[number] = np.bincount(predicted, weights=counts, minlength=num_classes)
        sums[number] = weights @ per_image
    return Tally(right=right, support=support, answers=given), sums


def _figure(name: str, value: float, resampled: Numbers) -> Figure:
    low, high = np.percentile(resampled, _BOUNDS_PERCENT).tolist()
    return Figure(name, value, low, high)


def measure_share(is_right: Flags, units: Units) -> tuple[float, float, float]:
    """Return the share of right answers (N,) among some images, and its 95 % interval.

    Unlike the bootstrap's this interval is of use for few images, also where all are right. Images of one
    unit are right or wrong together, so units are counted as draws; where all are of one unit, images.
    Source: Wilson 1927, doi:10.2307/2276774.
    """
    share, num_units = float(is_right.mean()), len(np.unique(units))
    num_draws = num_units if num_units > 1 else len(is_right)
    normal = NormalDist().inv_cdf(_BOUNDS_PERCENT[1] / 100)
    squared = normal**2 / num_draws
    reach = normal * math.sqrt(share * (1 - share) / num_draws + squared / (4 * num_draws))
    low, high = ((share + squared / 2 + side * reach) / (1 + squared) for side in (-1, 1))
    # Where all or none is right one bound is the share itself, but for rounding.
    return share, max(0.0, min(low, share)), min(1.0, max(high, share))
