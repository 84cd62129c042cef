"""What the validation split lets one promise about predictions for other images.

Two promises, for images like those of the validation split, and for any target:

- Accuracy above a confidence threshold (selective prediction). The threshold is the lowest at which a
  sequence of binomial tests, from the most confident predictions down, is significant at 1 - confidence. So
  the target is met with that confidence, although the threshold was chosen on the same images.
  Source: Learn then Test, Angelopoulos et al. 2021, arXiv:2110.01052, fixed-sequence testing.
- Sets of classes that hold the true one so often (split conformal prediction).
  Source: Sadinle et al. 2019, arXiv:1609.00451 (LAC); Angelopoulos and Bates 2021, arXiv:2107.07511.

Images of one group are right or wrong together, so n images count as (sum m)^2 / sum m^2, m being the sizes
of their groups. docs/decisions/029 simulates both.
"""

import math

import numpy as np
from numpy.typing import NDArray

from schemas.vision.checkpoint import Calibration, ConfidenceLevel

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_STEPS_OF_TARGET = 1000
_START_FACTOR = 3  # by simulation, docs/decisions/029


def count_effective(groups: Ints) -> float:
    """Return how many independent images tell as much as these (N,), if a group's images are always alike.

    Groups of m images each count fully if they are equal in size; a few large ones count for less.
    Source: Kish 1965, Survey Sampling, section 8.2, with a correlation of 1 within groups.
    """
    # Not bincount, whose time is that of all groups also where these are the images of one class.
    _, sizes = np.unique(groups, return_counts=True)
    return float(len(groups) ** 2 / (sizes**2).sum())


def find_threshold(calibration: Calibration, *, target_accuracy: float, confidence: float) -> float | None:
    """Return the lowest probability above which predictions are as accurate as the target.

    Args:
        calibration: From the validation split.
        target_accuracy: Above 0.
        confidence: How sure that must be, from 0 to 1: the chance that it holds, before the images are drawn.

    Returns:
        The threshold; None if the validation split proves none.
    """
    # Levels of too few images could not pass whatever they show, and one wrong label among the first few
    # would end the sequence. Where it starts depends on numbers of images alone, so the tests stay valid.
    fewest, total = _min_images(target_accuracy, confidence), calibration.levels[-1].num_effective
    start = max(fewest, min(_START_FACTOR * fewest, total / 2))
    found = None
    for level in calibration.levels:
        if math.floor(level.num_effective) < start:
            continue
        if _p_value(level, target_accuracy) > 1 - confidence:
            break
        found = level.probability
    return found


def find_highest_target(calibration: Calibration, *, confidence: float) -> float:
    """Return the highest accuracy, in steps of a tenth of a percent, that has a threshold; 0 if none has."""
    for step in range(_STEPS_OF_TARGET - 1, 0, -1):
        target = step / _STEPS_OF_TARGET
        if find_threshold(calibration, target_accuracy=target, confidence=confidence) is not None:
            return target
    return 0.0


def explain_no_threshold(calibration: Calibration, *, target_accuracy: float, confidence: float) -> str:
    """Say why the target has no threshold, and what the highest target is that has one."""
    everything = calibration.levels[-1]
    images = describe_images(everything)
    target = _percent(target_accuracy)
    if math.floor(everything.num_effective) < _min_images(target_accuracy, confidence):
        why = f"{images} are too few to promise {target} accuracy"
    else:
        why = f"predictions for {images} are not accurate enough to promise {target} accuracy"
    highest = find_highest_target(calibration, confidence=confidence)
    most = f"the most that can be promised is {_percent(highest)}" if highest else "nothing can be promised"
    return f"{why}; {most}"


def find_set_threshold(calibration: Calibration, *, coverage: float) -> float | None:
    """Return the probability from which a class belongs to an image's prediction set.

    So many of the validation images as asked for, and the share of one more (the correction for a finite
    sample), have a true class at least this probable. A prediction set always holds the most probable class
    too, so that none is empty.

    Args:
        calibration: From the validation split.
        coverage: How often the set must hold the true class, from 0 to 1.

    Returns:
        The threshold; None if there are too few validation images to tell one.
    """
    needed = coverage * (1 + 1 / calibration.levels[-1].num_effective)
    num_probabilities = len(calibration.label_probabilities)
    rank = math.ceil(needed * num_probabilities - 1e-9)
    return calibration.label_probabilities[max(rank, 1) - 1] if rank <= num_probabilities else None


def explain_no_sets(calibration: Calibration, *, coverage: float) -> str:
    """Say why the coverage has no prediction sets, and what the highest coverage is that has them."""
    everything = calibration.levels[-1]
    highest = everything.num_effective / (everything.num_effective + 1)
    return (
        f"{describe_images(everything)} are too few for prediction sets of {_percent(coverage)} coverage; "
        f"the highest coverage is {_percent(highest)}"
    )


def describe_images(level: ConfidenceLevel) -> str:
    """Say how many validation images there are, and as how many they count."""
    images = f"{level.num_images:,} validation image" + ("" if level.num_images == 1 else "s")
    num_effective = math.floor(level.num_effective)
    return images if num_effective == level.num_images else f"{images} in groups, worth {num_effective:,},"


def _min_images(target_accuracy: float, confidence: float) -> float:
    """Return how many images, all correct, it takes to prove the target: 230 for 99 % at 90 %."""
    if target_accuracy >= 1 or confidence >= 1:
        return math.inf
    return math.log(1 - confidence) / math.log(target_accuracy)


def _p_value(level: ConfidenceLevel, target_accuracy: float) -> float:
    """Return how likely so few mistakes are, or fewer, if the accuracy just misses the target.

    The lower tail of a binomial distribution, for whole numbers of images: the effective number rounded down,
    mistakes rounded up.
    """
    num_images = math.floor(level.num_effective)
    mistakes = (level.num_images - level.num_correct) * (level.num_effective / level.num_images)
    num_mistakes = math.ceil(mistakes - 1e-9)
    if num_mistakes >= num_images:
        return 1.0
    counts = np.arange(num_mistakes)
    # Logarithms of the terms: each is the one before it times a ratio.
    ratios = np.log(num_images - counts) - np.log(counts + 1.0)
    odds = math.log(1 - target_accuracy) - math.log(target_accuracy)
    terms = np.concatenate([[0.0], np.cumsum(ratios + odds)]) + num_images * math.log(target_accuracy)
    return float(np.exp(terms).sum())


def _percent(fraction: float) -> str:
    """Write a fraction as a percentage, rounded down: a promise is never rounded up."""
    tenths = math.floor(1000 * fraction + 1e-9)
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10:.1f} %"
