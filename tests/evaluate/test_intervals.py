"""Confidence intervals against theory, the bootstrap, and simulated test sets."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from benchmarks.coverage import draw_groups, make_classifier, simulate
from stages.evaluate.curves import measure_areas
from stages.evaluate.intervals import compute_flip_p_value, estimate_mean_share, estimate_smooth
from stages.evaluate.metrics import Estimate, estimate_metrics, find_hardest_class
from stages.evaluate.predictions import Bools, Floats, Ints, Predictions
from stages.vision.binomial import Interval, estimate_share
from stages.vision.guarantees import count_effective
from tests.evaluate.drawn_predictions import draw_predictions, predict


def measure(found: Predictions, groups: Ints | None = None) -> dict[str, Estimate]:
    """Return the metrics by name; each image is a group of its own unless groups are given."""
    groups = np.arange(found.num_images) if groups is None else groups
    estimates = estimate_metrics(found, areas=measure_areas(found), groups=groups, top_k=2)
    return {estimate.name: estimate for estimate in estimates}


def take_interval(estimate: Estimate) -> Interval:
    """Return the interval that a metric must have."""
    assert estimate.interval is not None
    return estimate.interval


def predict_correctly(is_correct: Bools) -> Predictions:
    """Return predictions for images of two classes in turn, correct where given, all equally confident."""
    labels = torch.arange(len(is_correct)) % 2
    predicted = torch.where(torch.from_numpy(is_correct), labels, 1 - labels)
    return predict(torch.nn.functional.one_hot(predicted, 2).float(), labels)


@pytest.mark.parametrize(("num_correct", "number"), [(0, 10), (8, 10), (31, 31), (199, 200), (1, 1)])
def test_a_share_has_the_exact_interval_of_clopper_and_pearson(num_correct: int, number: int) -> None:
    """31 of 31 correct are no proof of 100 %: SciPy's test, too, says from 88.8 %."""
    expected = binomtest(num_correct, number).proportion_ci(0.95, method="exact")
    found = estimate_share(np.arange(number) < num_correct, np.arange(number))
    assert found == pytest.approx((expected.low, expected.high))
    if number == 31:
        assert found.low == pytest.approx(0.888, abs=5e-4)


def test_copies_add_no_information() -> None:
    """Four copies of each image give the interval of one if they are a group, half of it if they are not."""
    is_correct = np.arange(400) % 5 > 0
    copies, groups = np.tile(is_correct, 4), np.tile(np.arange(400), 4)
    single = estimate_share(is_correct, np.arange(400))
    assert estimate_share(copies, groups) == pytest.approx(single)
    apart = estimate_share(copies, np.arange(1600))
    assert apart.high - apart.low == pytest.approx((single.high - single.low) / 2, rel=0.05)


def test_a_few_large_groups_count_for_less_than_their_number() -> None:
    """Ten equal groups are ten observations; one large and nine single images are hardly more than one."""
    assert count_effective(np.arange(50) // 5) == 10
    assert count_effective(np.array([0] * 91 + list(range(1, 10)))) == pytest.approx(100**2 / (91**2 + 9))


def test_more_comparisons_need_wider_intervals() -> None:
    """With 10 comparisons each interval is one of 99.5 %."""
    expected = binomtest(8, 10).proportion_ci(0.995, method="exact")
    found = estimate_share(np.arange(10) < 8, np.arange(10), num_comparisons=10)
    assert found == pytest.approx((expected.low, expected.high))


def test_interval_of_the_loss_is_that_of_theory() -> None:
    """The mean loss is as uncertain as a mean of so many losses."""
    drawn = draw_predictions(1000)
    found = take_interval(measure(drawn)["log_loss"])
    expected = 2 * 1.96 * drawn.losses.std() / np.sqrt(1000)
    assert found.high - found.low == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("num_copies", [1, 4])
def test_intervals_are_those_of_the_plain_bootstrap(num_copies: int) -> None:
    """Resampling images, or groups of copies, and asking scikit-learn each time gives the same widths."""
    single = draw_predictions(300, num_classes=3)
    drawn = predict(single.logits.repeat(num_copies, 1), torch.from_numpy(single.labels).repeat(num_copies))
    groups = np.tile(np.arange(300), num_copies)
    probabilities = drawn.probabilities(slice(None)).numpy()
    generator = np.random.default_rng(7)
    expected: dict[str, list[float]] = {}
    for _ in range(300):
        rows = np.concatenate(
            [np.flatnonzero(groups == group) for group in generator.integers(300, size=300)]
        )
        labels, predicted, scores = drawn.labels[rows], drawn.predicted[rows], probabilities[rows]
        for name, value in {
            "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
            "macro_f1": reference.f1_score(labels, predicted, average="macro"),
            "weighted_f1": reference.f1_score(labels, predicted, average="weighted"),
            "matthews_correlation": reference.matthews_corrcoef(labels, predicted),
            "cohens_kappa": reference.cohen_kappa_score(labels, predicted),
            "roc_auc": reference.roc_auc_score(labels, scores, multi_class="ovr"),
            "average_precision": reference.average_precision_score(np.eye(3)[labels], scores),
        }.items():
            expected.setdefault(name, []).append(value)
    found = measure(drawn, groups)
    for name, values in expected.items():
        width = np.diff(np.percentile(values, (2.5, 97.5)))[0]
        bounds = take_interval(found[name])
        assert bounds == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.2 * width), name


def test_every_metric_lies_within_its_interval() -> None:
    """Also where a few mistakes make it wide."""
    for estimate in measure(draw_predictions(80)).values():
        interval = take_interval(estimate)
        assert interval.low <= estimate.value <= interval.high


def test_means_over_classes_need_images_of_each() -> None:
    """Three images of a class do not tell how its F1 varies; the loss is a mean over all images."""
    labels = torch.from_numpy(np.where(np.arange(100) < 3, 0, 1 + np.arange(100) % 2))
    generator = np.random.default_rng(0)
    found = measure(predict(torch.from_numpy(generator.normal(size=(100, 3))).float(), labels))
    assert found["macro_f1"].interval is None
    assert found["average_precision"].interval is None
    assert found["log_loss"].interval is not None


@pytest.mark.parametrize("num_images", [1, 30])
def test_without_mistakes_only_shares_have_an_interval(num_images: int) -> None:
    """That nothing was seen to vary proves nothing about how much it would."""
    found = measure(predict_correctly(np.ones(num_images, dtype=bool)))
    assert take_interval(found["accuracy"]).high == 1.0
    assert take_interval(found["accuracy"]).low < 0.9
    shares = {"accuracy", "balanced_accuracy", "top_k_accuracy"}
    assert {name for name, each in found.items() if each.interval} == shares


def test_mistakes_within_one_group_are_one_mistake() -> None:
    """Twenty mistakes of one group hardly tell how often others are made; of twenty groups they do."""
    is_correct = np.arange(200) >= 20
    groups = np.where(is_correct, np.arange(200), 0)
    assert measure(predict_correctly(is_correct), groups)["macro_f1"].interval is None
    interval = take_interval(measure(predict_correctly(is_correct))["macro_f1"])
    assert interval == pytest.approx((0.85, 0.94), abs=0.01)


def test_the_mean_of_the_recalls_has_an_interval_of_its_own() -> None:
    """Of equally frequent classes it is about that of the accuracy; a rare class makes it wide."""
    labels = np.arange(1000) % 2
    is_correct = np.arange(1000) % 10 > 1
    found = estimate_mean_share(is_correct, np.arange(1000), labels)
    assert found == pytest.approx(estimate_share(is_correct, np.arange(1000)), abs=0.005)
    rare = estimate_mean_share(is_correct, np.arange(1000), (np.arange(1000) < 4).astype(np.int64))
    assert rare.high - rare.low > 0.3


def test_where_a_smooth_metric_has_no_interval() -> None:
    """At a bound, without any variance, where one group decides, and with fewer than thirty groups."""
    influence, groups = np.tile([0.01, -0.01], 20), np.arange(40)
    of_one = np.zeros(40)
    of_one[0] = 0.1

    def estimate(value: float, influence: Floats, groups: Ints) -> Interval | None:
        return estimate_smooth(value, influence, groups, bounds=(0.0, 1.0))

    assert estimate(0.5, influence, groups) is not None
    assert estimate(1.0, influence, groups) is None
    assert estimate(0.5, np.zeros(40), groups) is None
    assert estimate(0.5, of_one, groups) is None
    assert estimate(0.5, influence[:29], groups[:29]) is None


def test_classes_with_common_groups_are_off_together() -> None:
    """Patients with images of both classes: with one patient, the mean is as uncertain as each recall."""
    labels, is_correct = np.arange(40) % 2, np.arange(40) >= 4
    one_group = np.zeros(40, dtype=np.int64)
    own = estimate_share(is_correct[labels == 0], one_group[labels == 0])
    assert estimate_mean_share(is_correct, one_group, labels) == pytest.approx(own)
    apart = estimate_mean_share(is_correct, labels, labels)
    assert apart.low > own.low


@pytest.mark.parametrize("constant", ["labels", "predicted"])
def test_a_correlation_with_a_constant_has_no_interval(constant: str) -> None:
    """It is 0 by definition: a network that always predicts one class printed -1.000 to 1.000."""
    labels = torch.arange(60) % 3 if constant == "predicted" else torch.zeros(60, dtype=torch.int64)
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 100 * (constant == "predicted")
    found = measure(predict(logits, labels))
    for name in ("matthews_correlation", "cohens_kappa"):
        assert (found[name].value, found[name].interval) == (0.0, None)


@pytest.mark.parametrize("grouping", ["single", "five"])
def test_intervals_contain_the_truth_as_often_as_they_say(grouping: str) -> None:
    """A small form of `python -m benchmarks.coverage`: 200 test sets of 200 images, 90 % accuracy."""
    classifier = make_classifier((0.5, 0.5), accuracy=0.9)
    cells = simulate(classifier, num_images=200, grouping=grouping, num_runs=200)
    shares = {name: share for name, share, num in cells if share is not None and num >= 100}
    assert {"accuracy", "recall"} <= set(shares)
    assert {"balanced_accuracy", "macro_f1", "log_loss", "roc_auc"} <= set(shares)
    # 0.95 less three standard errors of 200 runs.
    assert min(shares.values()) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200), shares


def test_simulated_groups_are_as_described() -> None:
    """Heavy groups: half of the images are in a few."""
    generator = np.random.default_rng(0)
    assert draw_groups("ten", 50, generator).tolist() == sorted([*range(10)] * 5)
    heavy = draw_groups("heavy", 1000, generator)
    assert len(heavy) == 1000
    assert count_effective(heavy) < 200


def test_a_hardest_class_needs_a_difference() -> None:
    """Among ten equal classes the lowest recall is chance; one at 23 % is not."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 100)
    lucky = generator.random(1000) < 0.9
    poor = np.where(labels == 4, np.arange(1000) % 4 == 0, lucky)
    for is_correct, hardest in ((lucky, None), (poor, 4), (np.ones(1000, dtype=bool), None)):
        predicted = torch.from_numpy(np.where(is_correct, labels, (labels + 1) % 10))
        found = predict(torch.nn.functional.one_hot(predicted, 10).float(), torch.from_numpy(labels))
        assert find_hardest_class(found, np.arange(1000)) == hardest


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (1, 0), (5, 0), (10, 3), (7, 7), (300, 240)])
def test_the_test_is_mcnemars_where_every_image_is_alone(fixed: int, broken: int) -> None:
    """Of images that changed, as many improve as worsen: an exact binomial test."""
    change = np.array([1] * fixed + [-1] * broken + [0] * 20)
    expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert compute_flip_p_value(change, np.arange(len(change))) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(-1, 1)), min_size=1, max_size=40))
def test_the_test_flips_the_signs_of_groups(images: list[tuple[int, int]]) -> None:
    """Its p-value is the share of all ways to flip the groups' signs that change as much or more."""
    groups = np.unique([group for group, _ in images], return_inverse=True)[1]
    change = np.array([change for _, change in images])
    totals = np.bincount(groups, weights=change)
    sums = [abs(np.dot(signs, totals)) for signs in itertools.product((1, -1), repeat=len(totals))]
    expected = np.mean([each >= abs(totals.sum()) - 1e-9 for each in sums])
    assert compute_flip_p_value(change, groups) == pytest.approx(expected, abs=1e-9)
