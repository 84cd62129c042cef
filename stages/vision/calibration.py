"""From logits to probabilities that mean what they say, and to the threshold for a wanted accuracy."""

import torch
from torch import Tensor

from schemas.vision.calibration import Calibration, Threshold


def compute_probabilities(logits: Tensor, calibration: Calibration) -> Tensor:
    """Return float64 (N, num_classes), rows adding up to 1, for logits float32 of the same shape."""
    return torch.softmax(logits.double() / calibration.temperature, dim=1)


def find_threshold(calibration: Calibration, *, target_accuracy: float) -> Threshold | None:
    """Return the lowest threshold that reached an accuracy on the validation split; None if none did."""
    reached = (step for step in calibration.thresholds if step.accuracy >= target_accuracy)
    return next(reached, None)
