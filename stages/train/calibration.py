"""Calibration of a trained network on the validation split.

Training drives logits apart for as long as that lowers its loss, and ends overconfident. One number corrects
most of that and changes no prediction: the temperature that logits are divided by.
Source: Guo et al. 2017, arXiv:1706.04599.
"""

import math

import numpy as np
import torch
from torch import Tensor

from schemas.vision.checkpoint import Calibration, Threshold
from stages.vision.inference import compute_probabilities

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
_MAX_STEPS = 100
_ACCURACY_LEVELS = 1000
_ALL = Threshold(probability=0.0, coverage=1.0, accuracy=0.0)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Return the calibration for validation logits float32 (N, num_classes) and labels int64 (N,)."""
    temperature = fit_temperature(logits, labels)
    without_thresholds = Calibration(temperature=temperature, thresholds=(_ALL,))
    probabilities, predictions = compute_probabilities(logits, without_thresholds).max(dim=1)
    thresholds = list_thresholds(probabilities, predictions == labels)
    return Calibration(temperature=temperature, thresholds=thresholds)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that makes the true classes most probable.

    The log loss is convex in the inverse of the temperature, and Newton's method finds its minimum; where a
    step would leave the bracket around it, the bracket is halved instead. If every prediction is correct,
    ever lower temperatures would fit better: such images do not show how often the network errs, and it stays
    1.
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


def list_thresholds(probabilities: Tensor, is_correct: Tensor) -> tuple[Threshold, ...]:
    """Return the thresholds worth having: no lower one is as accurate.

    Choosing a threshold by its accuracy on these very images overestimates that accuracy, most of all where
    few images are above it. To make up for that, each counts one more image, predicted wrongly.
    Source: Angelopoulos et al. 2022, arXiv:2208.02814.

    Args:
        probabilities: float64 (N,), of each image's most probable class.
        is_correct: bool (N,), whether that is the true class.

    Returns:
        Lowest first, starting with the one that withholds nothing. Accuracies are compared to a thousandth,
        so that there are never many.
    """
    order = np.argsort(-probabilities.numpy(), kind="stable")
    sorted_probabilities = probabilities.numpy()[order]
    num_above = np.arange(1, len(order) + 1)
    accuracies = np.cumsum(is_correct.numpy()[order]) / (num_above + 1)
    # Images of equal probability are above or below a threshold together.
    is_last = np.append(sorted_probabilities[1:] != sorted_probabilities[:-1], True)
    kept = [_ALL.model_copy(update={"accuracy": float(accuracies[-1])})]
    for place in np.flatnonzero(is_last)[::-1]:
        accuracy = float(accuracies[place])
        if int(accuracy * _ACCURACY_LEVELS) > int(kept[-1].accuracy * _ACCURACY_LEVELS):
            kept.append(
                Threshold(
                    probability=float(sorted_probabilities[place]),
                    coverage=float(num_above[place] / len(order)),
                    accuracy=accuracy,
                )
            )
    return tuple(kept)
