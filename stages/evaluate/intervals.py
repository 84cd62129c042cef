"""95 % confidence intervals: the percentile bootstrap over groups, and Wilson's interval for subgroups.

Images of one group (split.group, or copies of each other) are correct or wrong together. Resampled one by one
they would make the intervals too narrow, so whole groups are resampled.
Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13.
"""

import math
from statistics import NormalDist

import numpy as np

from stages.evaluate.predictions import Bools, Floats, Ints, Predictions
from stages.vision.scores import Tally

NUM_RESAMPLES = 1000
_SEED = 0
_BOUNDS_PERCENT = (2.5, 97.5)


def resample_groups(predictions: Predictions, *, groups: Ints, image_values: Floats) -> tuple[Tally, Floats]:
    """Draw as many groups as there are, with replacement, 1,000 times; the same ones in every run.

    Args:
        predictions: For N images of C classes.
        groups: int64 (N,), the group of each image, from 0 without gaps.
        image_values: (N, K), columns to sum over the drawn images.

    Returns:
        The tallies of all resamples, each (1000, C), and the sums (1000, K).
    """
    generator = np.random.default_rng(_SEED)
    num_groups, num_classes = int(groups.max()) + 1, predictions.num_classes
    # Weighting each image three times would cost most of the time. Images are first counted by their
    # (label, predicted) pair, and those few counts are then added up in the three ways.
    pairs, pair_of_image = np.unique(
        predictions.labels * num_classes + predictions.predicted, return_inverse=True
    )
    labels, predicted = np.divmod(pairs, num_classes)
    is_correct = labels == predicted
    correct, support, num_predicted = (np.empty((NUM_RESAMPLES, num_classes)) for _ in range(3))
    sums = np.empty((NUM_RESAMPLES, image_values.shape[1]))
    for number in range(NUM_RESAMPLES):
        times_drawn = np.bincount(generator.integers(num_groups, size=num_groups), minlength=num_groups)
        weights = times_drawn.astype(np.float64)[groups]
        counts = np.bincount(pair_of_image, weights=weights, minlength=len(pairs))
        correct[number] = np.bincount(labels[is_correct], weights=counts[is_correct], minlength=num_classes)
        support[number] = np.bincount(labels, weights=counts, minlength=num_classes)
        num_predicted[number] = np.bincount(predicted, weights=counts, minlength=num_classes)
        sums[number] = weights @ image_values
    return Tally(correct=correct, support=support, predicted=num_predicted), sums


def take_percentiles(resampled: Floats) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile of a metric's values (1000,) on the resamples."""
    low, high = np.percentile(resampled, _BOUNDS_PERCENT).tolist()
    return low, high


def compute_accuracy_interval(is_correct: Bools, groups: Ints) -> tuple[float, float, float]:
    """Return the accuracy on some images, bool (N,), and its 95 % interval by Wilson's formula.

    The bootstrap says nothing where all are correct, and little of a few images; this does. Each group counts
    as one draw, since its images are correct or wrong together; if there is only one group, each image does.
    Source: Wilson 1927, doi:10.2307/2276774.
    """
    accuracy, num_groups = float(is_correct.mean()), len(np.unique(groups))
    num_draws = num_groups if num_groups > 1 else len(is_correct)
    normal = NormalDist().inv_cdf(_BOUNDS_PERCENT[1] / 100)
    squared = normal**2 / num_draws
    reach = normal * math.sqrt(accuracy * (1 - accuracy) / num_draws + squared / (4 * num_draws))
    low, high = ((accuracy + squared / 2 + side * reach) / (1 + squared) for side in (-1, 1))
    # At 0 and 1 one bound is the accuracy itself, but for rounding.
    return accuracy, max(0.0, min(low, accuracy)), min(1.0, max(high, accuracy))
