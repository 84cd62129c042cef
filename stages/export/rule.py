"""Which predictions are accepted, in the words of every program and page that says it. Without torch."""

from dataclasses import dataclass

from schemas.vision.checkpoint import Calibration
from stages.vision.guarantees import (
    explain_no_sets,
    explain_no_threshold,
    find_set_threshold,
    find_threshold,
)

TARGET_ACCURACY, CONFIDENCE = 0.99, 0.9
"""What is wanted where nobody says otherwise, in every program and page."""


@dataclass(frozen=True)
class Rule:
    """Which predictions are accepted, and which classes are in prediction sets."""

    threshold: float | None
    """Lowest probability that is accepted; None where no accuracy is promised."""

    why_not: str
    """Why a prediction below the threshold is not accepted, or why no accuracy is promised."""

    set_threshold: float | None
    """Probability from which a class is in the prediction set; None for no sets."""

    why_no_sets: str
    """Why there are none although they were asked for."""


def choose_rule(
    calibration: Calibration, *, target_accuracy: float, confidence: float, coverage: float | None
) -> Rule:
    """Return the rule for what is wanted, as far as the validation split can promise it.

    Args:
        calibration: From the validation split.
        target_accuracy: Of the predictions that are accepted, from 0 to 1; 0 for no promise.
        confidence: How sure the validation split must be of it, between 0 and 1.
        coverage: How often prediction sets must hold the true class, between 0 and 1; None for no sets.
    """
    threshold, why_not, set_threshold, why_no_sets = None, "", None, ""
    if target_accuracy > 0:
        threshold = find_threshold(calibration, target_accuracy=target_accuracy, confidence=confidence)
        why_not = (
            explain_no_threshold(calibration, target_accuracy=target_accuracy, confidence=confidence)
            if threshold is None
            else f"probability below {threshold:.4g}, too low for {target_accuracy:g} accuracy"
        )
    if coverage is not None:
        set_threshold = find_set_threshold(calibration, coverage=coverage)
        why_no_sets = "" if set_threshold else explain_no_sets(calibration, coverage=coverage)
    return Rule(threshold, why_not, set_threshold, why_no_sets)
