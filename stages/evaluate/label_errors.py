"""Test images whose label is probably wrong, and how many of them are expected to be.

To ask only whether another class is unusually probable, as confident learning does (Northcutt et al. 2021,
arXiv:1911.00068), names as many mistakes of the network as of the labels. So an image is a suspect here if a
wrong label explains it better than a mistake of the network. A share of the labels, the rate, is taken to be
drawn at random from the other classes, and the rest to follow the network's probabilities, which are
calibrated and of images that it never saw. What remains is Bayes' rule.
docs/decisions/019-label-errors.md measures it.
"""

from dataclasses import dataclass

import numpy as np

from stages.evaluate.predictions import Floats, Ints, Predictions

_MIN_PROBABILITY = 0.5
_MAX_RATE = 0.5
_NUM_BISECTIONS = 50

_MIN_RATE_PER_MISTAKE = 0.05
"""Where no label is wrong, the tails of a network's probabilities look like 0.03 wrong labels for each of its
mistakes."""


@dataclass(frozen=True)
class LabelErrors:
    """Images whose label is probably wrong, the most probably wrong first."""

    images: Ints
    """Positions in the split; none where nothing can be said."""

    suggestions: Ints
    """The most probable class of each."""

    probabilities: Floats
    """That the label of each is wrong."""

    is_withheld: bool
    """Whether the network makes too many mistakes to tell those of the labels from them."""

    @property
    def expected_precision(self) -> float:
        """Return which share of the labels is expected to be wrong; there must be some."""
        return float(self.probabilities.mean())


def find_label_errors(predictions: Predictions) -> LabelErrors:
    """Return the images whose label is more probably wrong than right, and is not the predicted class."""
    found = np.maximum(predictions.label_probability, np.finfo(np.float64).tiny)
    at_random = (1 - found) / (predictions.num_classes - 1)
    rate = _fit_rate(found, at_random)
    probabilities = rate * at_random / (rate * at_random + (1 - rate) * found)
    is_mistake = ~predictions.is_correct
    images = np.flatnonzero(is_mistake & (probabilities >= _MIN_PROBABILITY))
    is_withheld = bool(len(images) and rate < _MIN_RATE_PER_MISTAKE * is_mistake.mean())
    if is_withheld:
        images = images[:0]
    images = images[np.argsort(-probabilities[images], kind="stable")]
    return LabelErrors(images, predictions.predicted[images], probabilities[images], is_withheld)


def _fit_rate(found: Floats, at_random: Floats) -> float:
    """Return the share of wrong labels under which the labels (N,) are most probable.

    Args:
        found: The network's probability of each label.
        at_random: The probability of each label if it is a wrong one.
    """
    # The log-likelihood is concave: its slope falls from one end to the other.
    differences = at_random - found
    low, high = 0.0, _MAX_RATE
    for _ in range(_NUM_BISECTIONS):
        middle = (low + high) / 2
        slope = float((differences / (found + middle * differences)).sum())
        low, high = (middle, high) if slope > 0 else (low, middle)
    return low
