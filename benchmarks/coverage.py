"""How often the intervals of the report contain the true value, in simulated test sets.

    python -m benchmarks.coverage             # 500 test sets a cell; some ten minutes
    python -m benchmarks.coverage --runs 100

A classifier with a known accuracy is simulated: its logits are normal numbers, with the true class raised.
All images of a group have the same logits, which is the worst that groups can do. A cell is an accuracy, a
number of classes, a number of images and a kind of groups: `single` images, groups of `five`, `ten` equal
groups, and `heavy` (Pareto with exponent 1.2: a few groups hold most images). The truth is that of 400,000.

Printed is the share of the intervals that contain the truth, and how many of the test sets had an interval.
It should be .95; .93 to .98 is what 500 runs allow. Shares have exact intervals, which contain it more often.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from schemas.vision.checkpoint import Calibration, ConfidenceLevel
from stages.evaluate.curves import measure_areas
from stages.evaluate.metrics import Estimate, estimate_metrics
from stages.evaluate.predictions import Ints, Predictions, make_predictions
from stages.vision.binomial import estimate_share

NUM_IMAGES = (50, 200, 1000, 5000)
ACCURACIES = (0.7, 0.9, 0.97, 0.99)
GROUPINGS = ("single", "five", "ten", "heavy")
PRIORS = ((0.5, 0.5), (0.9, 0.1), (0.1,) * 10)
_TRUTH_IMAGES = 400_000
_AS_IT_IS = Calibration(
    temperature=1.0,
    levels=(ConfidenceLevel(probability=0.0, num_images=1, num_correct=1, num_effective=1.0),),
    label_probabilities=(1.0,),
)


@dataclass(frozen=True)
class Classifier:
    """A classifier whose accuracy is known, for classes of known frequency."""

    priors: Sequence[float]
    separation: float
    """By how many standard deviations the true class is raised."""

    def predict(self, groups: Ints, generator: np.random.Generator) -> Predictions:
        """Return predictions for images (N,); those of a group are alike."""
        num_groups, num_classes = int(groups.max()) + 1, len(self.priors)
        labels = generator.choice(num_classes, size=num_groups, p=self.priors)
        logits = generator.normal(size=(num_groups, num_classes))
        logits[np.arange(num_groups), labels] += self.separation
        logits *= self.separation  # calibrated, if all classes are equally frequent
        return make_predictions(
            torch.from_numpy(logits[groups]).float(), torch.from_numpy(labels[groups]), calibration=_AS_IT_IS
        )


def make_classifier(priors: Sequence[float], *, accuracy: float) -> Classifier:
    """Return the classifier that is correct this often, found by bisection."""
    low, high = 0.0, 12.0
    middle = Classifier(priors, high)
    for _ in range(25):
        middle = Classifier(priors, (low + high) / 2)
        correct = middle.predict(np.arange(50_000), np.random.default_rng(0)).is_correct.mean()
        low, high = (middle.separation, high) if correct < accuracy else (low, middle.separation)
    return middle


def draw_groups(grouping: str, num_images: int, generator: np.random.Generator) -> Ints:
    """Return the group of each image, int64 (num_images,), from 0 without gaps."""
    if grouping == "heavy":
        sizes = np.ceil(generator.pareto(1.2, size=num_images)).astype(np.int64).clip(1, num_images)
        return np.repeat(np.arange(num_images), sizes)[:num_images]
    size = {"single": 1, "five": 5, "ten": num_images // 10}[grouping]
    return np.arange(num_images) // size


def measure(found: Predictions, groups: Ints) -> list[Estimate]:
    """Return the estimates of all metrics, and of the recall of class 0."""
    of_class = found.labels == 0
    estimates = estimate_metrics(found, areas=measure_areas(found), groups=groups, top_k=2)
    if of_class.any():
        interval = estimate_share(found.is_correct[of_class], groups[of_class])
        estimates.append(Estimate("recall", float(found.is_correct[of_class].mean()), interval))
    # With two classes, nothing is outside the top two.
    return [each for each in estimates if each.name != "top_k_accuracy" or found.num_classes > 2]


def simulate(
    classifier: Classifier, *, num_images: int, grouping: str, num_runs: int, seed: int = 0
) -> Iterator[tuple[str, float | None, int]]:
    """Yield each metric's name, the share of its intervals that contain the truth, and their number."""
    generator = np.random.default_rng((seed, num_images, GROUPINGS.index(grouping)))
    truth_groups = np.arange(_TRUTH_IMAGES)
    found = classifier.predict(truth_groups, np.random.default_rng(1))
    truth = {each.name: each.value for each in measure(found, truth_groups)}
    contained: dict[str, list[bool]] = defaultdict(list)
    for _ in range(num_runs):
        groups = draw_groups(grouping, num_images, generator)
        for each in measure(classifier.predict(groups, generator), groups):
            if each.interval is not None:
                contained[each.name].append(each.interval.low <= truth[each.name] <= each.interval.high)
    for name in truth:
        some = contained[name]
        yield name, sum(some) / len(some) if some else None, len(some)


def main() -> None:
    """Print the table, a line for each cell."""
    parser = argparse.ArgumentParser(description="How often confidence intervals contain the true value.")
    parser.add_argument("--runs", type=int, default=500, help="simulated test sets of each cell")
    num_runs = parser.parse_args().runs
    torch.set_num_threads(1)
    is_first = True
    for priors in PRIORS:
        for accuracy in ACCURACIES:
            classifier = make_classifier(priors, accuracy=accuracy)
            for num_images in NUM_IMAGES:
                for grouping in GROUPINGS:
                    cells = list(
                        simulate(classifier, num_images=num_images, grouping=grouping, num_runs=num_runs)
                    )
                    if is_first:
                        print("classes", "accuracy", "images", "groups", *(name for name, _, _ in cells))
                        is_first = False
                    texts = ("-" if share is None else f"{share:.3f} ({num})" for _, share, num in cells)
                    print(f"{len(priors)}/{priors[0]}", accuracy, num_images, grouping, *texts, flush=True)


if __name__ == "__main__":
    main()
