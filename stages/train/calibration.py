"""Calibration of a trained network on the validation split.

Training drives logits apart for as long as that lowers its loss, and ends with more certainty than is right.
One number mends most of it and changes no answer: the temperature that logits are divided by.
Source: Guo et al. 2017, arXiv:1706.04599.
"""

import math

import numpy as np
import torch
from torch import Tensor

from schemas.vision.calibration import Calibration, Threshold
from stages.vision.calibration import compute_probabilities

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
_MAX_STEPS = 100
_ACCURACY_STEPS = 1000
_ALL = Threshold(probability=0.0, answered_fraction=1.0, accuracy=0.0)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Return the calibration for validation logits float32 (N, num_classes) and labels int64 (N,)."""
    temperature = fit_temperature(logits, labels)
    uncertain = Calibration(temperature=temperature, thresholds=(_ALL,))
    probabilities, answers = compute_probabilities(logits, uncertain).max(dim=1)
    thresholds = list_thresholds(probabilities, answers == labels)
    return Calibration(temperature=temperature, thresholds=thresholds)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that makes the true classes most probable.

    The loss is convex in the inverse of the temperature, and Newton's steps find its minimum; a bracket
    around it keeps them from leaping too far. Images that are all answered correctly would be ever more
    probable with ever lower temperature: they say nothing of how often the network errs, and it stays 1.
    """
    if bool((logits.argmax(dim=1) == labels).all()):
        return 1.0
    wide = logits.double()
    of_label = wide.gather(1, labels[:, None]).squeeze(1)
    low, high, inverse = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE, 1.0
    for _ in range(_MAX_STEPS):
        probabilities = torch.softmax(wide * inverse, dim=1)
        expected = (probabilities * wide).sum(dim=1)
        slope = (expected - of_label).mean().item()
        curvature = (probabilities * (wide - expected[:, None]).square()).sum(dim=1).mean().item()
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else inverse if slope == 0 else math.inf
        if not low <= step <= high:
            step = (low + high) / 2
        if abs(step - inverse) <= 1e-12 * inverse:
            break
        inverse = step
    return 1 / inverse


def list_thresholds(probabilities: Tensor, is_right: Tensor) -> tuple[Threshold, ...]:
    """Return the thresholds worth having: no lower one is as accurate.

    Choosing among thresholds by their accuracy flatters the one that is chosen, most of all where few images
    are answered. One more image, answered wrongly, counts in each of them to make up for it.
    Source: Angelopoulos et al. 2022, arXiv:2208.02814.

    Args:
        probabilities: float64 (N,), of each image's most probable class.
        is_right: bool (N,), whether that is the true class.

    Returns:
        Lowest first, starting with the one that withholds nothing. An accuracy is told from another to a
        thousandth, so that there are never many.
    """
    order = np.argsort(-probabilities.numpy(), kind="stable")
    sorted_probabilities = probabilities.numpy()[order]
    num_answered = np.arange(1, len(order) + 1)
    accuracies = np.cumsum(is_right.numpy()[order]) / (num_answered + 1)
    # Images of equal probability are answered or withheld together.
    is_last = np.append(sorted_probabilities[1:] != sorted_probabilities[:-1], True)
    kept = [_ALL.model_copy(update={"accuracy": float(accuracies[-1])})]
    for place in np.flatnonzero(is_last)[::-1]:
        accuracy = float(accuracies[place])
        if int(accuracy * _ACCURACY_STEPS) > int(kept[-1].accuracy * _ACCURACY_STEPS):
            kept.append(
                Threshold(
                    probability=float(sorted_probabilities[place]),
                    answered_fraction=float(num_answered[place] / len(order)),
                    accuracy=accuracy,
                )
            )
    return tuple(kept)
