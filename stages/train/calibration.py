"""Calibration of a trained network on the validation split.

Training drives logits apart for as long as that lowers its loss, and ends overconfident. One number corrects
most of that and changes no prediction: the temperature that logits are divided by. How often the network was
right at each confidence is recorded too, so that accuracy and coverage can be promised later, for any target.
"""

import math

import numpy as np
import torch
from torch import Tensor

from schemas.vision.checkpoint import Calibration, ConfidenceLevel
from stages.vision.guarantees import Bools, Floats, Ints, count_effective
from stages.vision.inference import softmax_at

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
_MAX_STEPS = 100
# Both chosen by simulation, docs/decisions/029: they leave a calibrated network nearly alone, and
# still correct an overconfident one.
_LOG_TEMPERATURE_STD = 0.3
_SCORE_QUANTILE = 2.706  # of chi-squared with one degree of freedom, at 90 %

MAX_LEVELS = 100
MAX_LABEL_PROBABILITIES = 1000


def calibrate(logits: Tensor, labels: Tensor, *, groups: Ints) -> Calibration:
    """Return the calibration for the validation split.

    Args:
        logits: float32 (N, num_classes).
        labels: int64 (N,).
        groups: int64 (N,), the number of each image's group.
    """
    temperature = fit_temperature(logits, labels, num_effective=count_effective(groups))
    probabilities = softmax_at(logits, temperature)
    confidence, predicted = probabilities.max(dim=1)
    of_label = probabilities.gather(1, labels[:, None]).squeeze(1)
    return Calibration(
        temperature=temperature,
        levels=list_levels(confidence.numpy(), (predicted == labels).numpy(), groups),
        label_probabilities=thin_probabilities(of_label.numpy()),
    )


def fit_temperature(logits: Tensor, labels: Tensor, *, num_effective: float) -> float:
    """Return the temperature that makes the true classes most probable, drawn towards 1 by a prior.

    It stays 1 unless a score test at 90 % finds the probabilities wrong: by chance alone, some temperature
    fits few images better and makes a calibrated network worse. It also stays 1 if every prediction is
    correct: ever lower temperatures would fit better, and such images do not show how often the network errs.
    Otherwise it is the maximum a posteriori, log T having a normal prior of mean 0 and deviation 0.3.

    The log loss is convex in the inverse of the temperature, and Newton's method finds its minimum; where a
    step would leave the bracket around it, the bracket is halved instead.
    Source: Guo et al. 2017, arXiv:1706.04599; the score test: Rao 1948, doi:10.1017/S0305004100023987.

    Args:
        logits: float32 (N, num_classes).
        labels: int64 (N,).
        num_effective: How many independent images say as much as these.
    """
    if bool((logits.argmax(dim=1) == labels).all()):
        return 1.0
    wide = logits.double()
    of_label = wide.gather(1, labels[:, None]).squeeze(1)
    low, high, inverse = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE, 1.0
    precision = 1 / (_LOG_TEMPERATURE_STD**2 * num_effective)
    for step_number in range(_MAX_STEPS):
        probabilities = torch.softmax(wide * inverse, dim=1)
        expected = (probabilities * wide).sum(dim=1)
        slope = (expected - of_label).mean().item()
        curvature = (probabilities * (wide - expected[:, None]).square()).sum(dim=1).mean().item()
        if step_number == 0 and num_effective * slope**2 <= _SCORE_QUANTILE * curvature:
            return 1.0
        # The prior's share: of (log T)^2 / 2 in the inverse of T.
        slope += precision * math.log(inverse) / inverse
        curvature += precision * (1 - math.log(inverse)) / inverse**2
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else math.inf
        if not low <= step <= high:
            step = (low + high) / 2
        if abs(step - inverse) <= 1e-12 * inverse:
            break
        inverse = step
    return 1 / inverse


def list_levels(confidence: Floats, is_correct: Bools, groups: Ints) -> tuple[ConfidenceLevel, ...]:
    """Return how often the most confident predictions are correct: the first hundredth, two hundredths, all.

    A hundred levels: the more often a promise is tested, the sooner it fails by chance. Images of equal
    confidence are in a level together.

    Args:
        confidence: (N,), probability of each image's most probable class.
        is_correct: bool (N,), whether that is the true class.
        groups: int64 (N,), the number of each image's group.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    is_last_of_tie = np.append(falling[1:] != falling[:-1], True)
    ends = np.flatnonzero(is_last_of_tie)
    num_levels = min(MAX_LEVELS, len(order))
    wanted = np.ceil(np.arange(1, num_levels + 1) * (len(order) / num_levels) - 1e-9).astype(np.int64) - 1
    kept = np.unique(ends[np.searchsorted(ends, wanted)])
    num_correct = np.cumsum(is_correct[order])
    return tuple(
        ConfidenceLevel(
            probability=float(falling[end]),
            num_images=end + 1,
            num_correct=int(num_correct[end]),
            num_effective=count_effective(groups[order[: end + 1]]),
        )
        for end in kept.tolist()
    )


def thin_probabilities(of_label: Floats) -> tuple[float, ...]:
    """Return the probabilities of the true classes (N,), highest first; of many, a thousand quantiles."""
    falling = -np.sort(-of_label)
    if len(falling) > MAX_LABEL_PROBABILITIES:
        parts = np.arange(1, MAX_LABEL_PROBABILITIES + 1) * len(falling)
        # Rounded up: a quantile must not claim more than its share of the images.
        falling = falling[-(-parts // MAX_LABEL_PROBABILITIES) - 1]
    return tuple(falling.tolist())
