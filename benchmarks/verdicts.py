"""How often `tools.compare` is right about pairs of simulated models whose difference is known.

    python -m benchmarks.verdicts                # 1,000 pairs a cell; some minutes
    python -m benchmarks.verdicts --pairs 100

Two models predict the same images. What is hard for one is hard for the other: their logits share a part, and
the images of a group are all alike. A cell is of pairs that are equal, of pairs of which the other is better,
or of pairs of which it is too sure of itself. Printed for each: the share of the 95 % intervals that contain
the true difference of each metric, and how many pairs had one; and how many were called better or worse. Then
families of 20 comparisons of equal models with one baseline: in how many any was called different.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.coverage import _AS_IT_IS, draw_groups
from stages.evaluate.intervals import LEVEL, compute_flip_p_value
from stages.evaluate.predictions import Ints, Predictions, make_predictions
from tools.compare.differences import METRICS, compare, correct_for_many

_NUM_TRUTH = 300_000
_SHARED = 0.8
"""Of the variance of the logits: what both models see in an image."""


def draw_models(
    groups: Ints,
    *,
    separations: Sequence[float],
    num_classes: int,
    generator: np.random.Generator,
    sharpness: Sequence[float] = (),
) -> list[Predictions]:
    """Return predictions of models for the same images (N,), each with its own skill.

    Args:
        groups: The group of each image, from 0 without gaps.
        separations: By how many standard deviations each model raises the true class.
        num_classes: How many.
        generator: For all that is random.
        sharpness: What multiplies each model's logits: above 1 it is too sure. Empty: all are calibrated.
    """
    num_groups = int(groups.max()) + 1
    labels = generator.integers(num_classes, size=num_groups)
    shared = generator.normal(size=(num_groups, num_classes)) * _SHARED**0.5
    models = []
    for separation, factor in zip(separations, sharpness or [1.0] * len(separations), strict=True):
        logits = shared + generator.normal(size=shared.shape) * (1 - _SHARED) ** 0.5
        logits[np.arange(num_groups), labels] += separation
        logits *= separation * factor
        models.append(
            make_predictions(
                torch.from_numpy(logits[groups]).float(),
                torch.from_numpy(labels[groups]),
                calibration=_AS_IT_IS,
            )
        )
    return models


def simulate_pairs(
    num_images: int,
    grouping: str,
    *,
    separations: tuple[float, float],
    sharpness: tuple[float, float],
    num_classes: int,
    num_pairs: int,
) -> None:
    """Print the line of one cell."""
    generator = np.random.default_rng(0)
    many = np.arange(_NUM_TRUTH)
    draw = partial(
        draw_models,
        separations=separations,
        sharpness=sharpness,
        num_classes=num_classes,
        generator=generator,
    )
    models = draw(many)
    truth = compare(models[:1], models[1:], many)
    is_equal = separations[0] == separations[1] and sharpness[0] == sharpness[1]
    true = {name: 0.0 if is_equal else truth.find(name).value for name in METRICS}
    held = {name: [0, 0] for name in METRICS}
    num_better = num_worse = 0
    for _ in range(num_pairs):
        groups = draw_groups(grouping, num_images, generator)
        groups = np.unique(groups, return_inverse=True)[1]
        first, other = draw(groups)
        found = compare([first], [other], groups)
        for name in METRICS:
            if (interval := found.find(name).interval) is not None:
                held[name][0] += interval.low <= true[name] <= interval.high
                held[name][1] += 1
        if found.overall.p_value < LEVEL:
            num_better += found.find("accuracy").value > 0
            num_worse += found.find("accuracy").value < 0
    shares = "  ".join(f"{name} {a / max(b, 1):.3f} of {b}" for name, (a, b) in held.items())
    print(
        f"{num_images:6} {grouping:7} true {true['accuracy']:+.4f}, ece {true['ece']:+.4f}  {shares}  "
        f"better {num_better / num_pairs:.3f} worse {num_worse / num_pairs:.3f}",
        flush=True,
    )


def simulate_families(num_images: int, *, num_others: int, num_families: int) -> None:
    """Print in how many families of equal models any is called different from the first."""
    generator = np.random.default_rng(1)
    groups = np.arange(num_images)
    num_wrong = 0
    for _ in range(num_families):
        models = draw_models(
            groups, separations=[2.5] * (num_others + 1), num_classes=10, generator=generator
        )
        correct = [model.is_correct.astype(np.int64) for model in models]
        p_values = [compute_flip_p_value(each - correct[0], groups) for each in correct[1:]]
        num_wrong += min(correct_for_many(p_values)) < LEVEL
    print(
        f"{num_families} families of {num_others} models like the first: "
        f"{num_wrong / num_families:.3f} with a wrong verdict"
    )


def main() -> None:
    """Print a line for each cell, then the families."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1000)
    num_pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    for num_images in (200, 1000, 5000):
        for grouping in ("single", "five", "heavy"):
            for separations, sharpness in (
                ((2.5, 2.5), (1.0, 1.0)),
                ((2.5, 2.7), (1.0, 1.0)),
                ((2.5, 2.5), (1.0, 1.6)),
            ):
                simulate_pairs(
                    num_images,
                    grouping,
                    separations=separations,
                    sharpness=sharpness,
                    num_classes=10,
                    num_pairs=num_pairs,
                )
    simulate_families(1000, num_others=20, num_families=num_pairs)


if __name__ == "__main__":
    main()
