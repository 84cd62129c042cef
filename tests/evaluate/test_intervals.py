"""Confidence intervals against theory, and against the plain bootstrap."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from stages.evaluate.curves import measure_areas
from stages.evaluate.intervals import compute_accuracy_interval
from stages.evaluate.metrics import Estimate, estimate_metrics
from stages.evaluate.predictions import Bools, Ints, Predictions
from tests.evaluate.drawn_predictions import draw_predictions, predict


def measure(found: Predictions, groups: Ints | None = None) -> dict[str, Estimate]:
    """Return the metrics by name; each image is a group of its own unless groups are given."""
    groups = np.arange(found.num_images) if groups is None else groups
    estimates = estimate_metrics(found, areas=measure_areas(found), groups=groups, top_k=2)
    return {estimate.name: estimate for estimate in estimates}


def predict_correctly(is_correct: Bools) -> Predictions:
    """Return predictions for images of two classes in turn, correct where given, all equally confident."""
    labels = torch.arange(len(is_correct)) % 2
    predicted = torch.where(torch.from_numpy(is_correct), labels, 1 - labels)
    return predict(torch.nn.functional.one_hot(predicted, 2).float(), labels)


def test_interval_of_the_accuracy_is_that_of_theory() -> None:
    """For 90 % of 1,000 images the bootstrap finds the interval of the normal approximation."""
    found = measure(predict_correctly(np.arange(1000) % 10 > 0))
    deviation = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert found["accuracy"].value == pytest.approx(0.9)
    assert found["accuracy"].low == pytest.approx(0.9 - deviation, abs=2.5e-3)
    assert found["accuracy"].high == pytest.approx(0.9 + deviation, abs=2.5e-3)


def test_interval_of_the_loss_is_that_of_theory() -> None:
    """The mean loss is as uncertain as a mean of so many losses."""
    drawn = draw_predictions(1000)
    found = measure(drawn)["log_loss"]
    expected = 2 * 1.96 * drawn.losses.std() / np.sqrt(1000)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("num_copies", [1, 4])
def test_intervals_are_those_of_the_plain_bootstrap(num_copies: int) -> None:
    """Resampling images, or groups of copies, and asking scikit-learn each time gives the same intervals."""
    single = draw_predictions(300, num_classes=3)
    drawn = predict(single.logits.repeat(num_copies, 1), torch.from_numpy(single.labels).repeat(num_copies))
    groups = np.tile(np.arange(300), num_copies)
    probabilities = drawn.probabilities(slice(None)).numpy()
    generator = np.random.default_rng(7)
    expected: dict[str, list[float]] = {"weighted_f1": [], "roc_auc": [], "average_precision": []}
    for _ in range(300):
        rows = np.concatenate(
            [np.flatnonzero(groups == group) for group in generator.integers(300, size=300)]
        )
        labels, scores = drawn.labels[rows], probabilities[rows]
        expected["weighted_f1"].append(reference.f1_score(labels, drawn.predicted[rows], average="weighted"))
        expected["roc_auc"].append(reference.roc_auc_score(labels, scores, multi_class="ovr"))
        expected["average_precision"].append(reference.average_precision_score(np.eye(3)[labels], scores))
    found = measure(drawn, groups)
    for name, values in expected.items():
        width = np.diff(np.percentile(values, (2.5, 97.5)))[0]
        bounds = (found[name].low, found[name].high)
        assert bounds == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.15 * width)


def test_copies_add_no_information() -> None:
    """Four copies of each image give the interval of one if they are a group, half of it if they are not."""
    is_correct = np.arange(400) % 5 > 0
    copies, groups = predict_correctly(np.tile(is_correct, 4)), np.tile(np.arange(400), 4)
    single, grouped, apart = (
        found["accuracy"].high - found["accuracy"].low
        for found in (measure(predict_correctly(is_correct)), measure(copies, groups), measure(copies))
    )
    assert grouped == pytest.approx(single, rel=0.05)
    assert apart == pytest.approx(single / 2, rel=0.1)


def test_intervals_are_the_same_every_time() -> None:
    """The bootstrap has a fixed seed, and every metric lies within its interval."""
    drawn = draw_predictions(80)
    assert measure(drawn) == measure(drawn)
    for estimate in measure(drawn).values():
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("num_images", [1, 30])
def test_a_test_split_without_mistakes(num_images: int) -> None:
    """Perfect predictions stay perfect in every resample, also those for a single image."""
    found = measure(predict_correctly(np.ones(num_images, dtype=bool)))
    names = ["accuracy", "macro_f1", "average_precision", *(["roc_auc"] if num_images > 1 else [])]
    assert all((found[name].low, found[name].high) == (1.0, 1.0) for name in names)
    assert all(np.isfinite([estimate.low, estimate.high]).all() for estimate in found.values())


def test_accuracy_has_wilsons_interval() -> None:
    """The bounds for 8, 10 and 0 of 10 are those of Wilson's formula, never beyond the accuracy itself."""
    for num_correct, bounds in ((8, (0.49016, 0.94331)), (10, (0.72247, 1.0)), (0, (0.0, 0.27753))):
        found = compute_accuracy_interval(np.arange(10) < num_correct, np.arange(10))
        assert found == pytest.approx((num_correct / 10, *bounds), abs=1e-5)


def test_wilsons_interval_counts_groups_unless_there_is_one() -> None:
    """Two images each of ten groups count as ten images; of a single group, each image counts."""
    is_correct = np.arange(10) >= 2
    single = compute_accuracy_interval(is_correct, np.arange(10))
    assert compute_accuracy_interval(np.repeat(is_correct, 2), np.repeat(np.arange(10), 2)) == single
    assert compute_accuracy_interval(is_correct, np.zeros(10, dtype=np.int64)) == single
