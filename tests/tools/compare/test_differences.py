"""Paired differences and tests, against brute force and scipy, and in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from benchmarks.verdicts import draw_models
from stages.evaluate.intervals import LEVEL
from stages.evaluate.predictions import Predictions
from tests.tools.compare.results import make_result
from tools.compare.differences import compare, correct_for_many, estimate


def predict(predicted: list[int], labels: list[int]) -> Predictions:
    result = make_result(predicted, labels)
    return result.select(result.keys, result.classes)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction(p_values: list[float]) -> None:
    """The smallest is multiplied by their number, the next by one less; none falls below one before it."""
    corrected = correct_for_many(p_values)
    order = np.argsort(p_values, kind="stable")
    expected, highest = {}, 0.0
    for place, at in enumerate(order):
        highest = max(highest, min(1.0, p_values[at] * (len(p_values) - place)))
        expected[at] = highest
    assert corrected == [pytest.approx(expected[at]) for at in range(len(p_values))]
    # Any that Holm rejects, Benjamini and Hochberg's weaker correction rejects as well.
    assert all(b <= a + 1e-12 for a, b in zip(corrected, false_discovery_control(p_values), strict=True))


def test_the_same_predictions_do_not_differ() -> None:
    """No metric moves, nothing is fixed or broken, and no number of images would tell."""
    run = predict([0, 1] * 40, [0, 0, 1, 1] * 20)
    found = compare([run], [run], np.arange(80))
    assert [each.value for each in found.differences] == [0.0] * 5
    assert all(each.interval is None for each in found.differences)
    assert (found.overall.p_value, found.overall.num_images_needed) == (1.0, None)
    assert len(found.fixed) == len(found.broken) == 0


def test_fixed_and_broken_images_are_named() -> None:
    """Fixed ones were wrong and are right; for several seeds, most of them must say so."""
    labels = [0, 0, 0, 1, 1, 1]
    first = [predict([1, 0, 0, 1, 1, 1], labels)]
    other = [
        predict([0, 0, 0, 0, 1, 1], labels),
        predict([0, 1, 0, 0, 1, 1], labels),
        predict([0, 0, 0, 0, 1, 0], labels),
    ]
    found = compare(first, other, np.arange(6))
    assert (found.fixed.tolist(), found.broken.tolist()) == ([0], [3])


def test_the_direction_of_each_metric() -> None:
    """Another that is right more often has a higher accuracy and a lower loss."""
    labels = [0, 1] * 50
    first = predict([0] * 100, labels)
    other = predict(labels, labels)
    found = compare([first], [other], np.arange(100))
    assert found.find("accuracy").value == pytest.approx(0.5)
    assert found.find("log_loss").value < 0
    assert found.overall.p_value < 1e-9
    assert found.classes[1].p_value < 1e-9
    assert found.classes[0].p_value == 1.0


def test_copies_of_images_in_groups_add_no_certainty() -> None:
    """Each image four times, as a group, gives the test of the single images, and as wide an interval."""
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=200)
    first, other = (np.where(generator.random(200) < share, labels, 1 - labels) for share in (0.7, 0.8))
    single = compare(
        [predict(first.tolist(), labels.tolist())], [predict(other.tolist(), labels.tolist())], np.arange(200)
    )
    four = [np.repeat(each, 4).tolist() for each in (first, other, labels)]
    copied = compare([predict(four[0], four[2])], [predict(four[1], four[2])], np.repeat(np.arange(200), 4))
    assert copied.overall.p_value == pytest.approx(single.overall.p_value)
    a, b = (found.find("accuracy").interval for found in (single, copied))
    assert a is not None
    assert b is not None
    assert b == pytest.approx(a)


def test_seeds_that_differ_widen_the_interval() -> None:
    """Two configurations of three seeds each, whose accuracies swing, cannot be told apart by their means."""
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=2000)

    def draw(accuracy: float) -> Predictions:
        right = generator.random(2000) < accuracy
        return predict(np.where(right, labels, 1 - labels).tolist(), labels.tolist())

    swinging = compare(
        [draw(share) for share in (0.75, 0.80, 0.85)],
        [draw(share) for share in (0.80, 0.84, 0.88)],
        np.arange(2000),
    )
    steady = compare([draw(0.80) for _ in range(3)], [draw(0.84) for _ in range(3)], np.arange(2000))
    assert steady.overall.p_value < LEVEL < swinging.overall.p_value


def test_one_seed_counts_as_uncertain_as_those_of_the_other() -> None:
    """A single run against three: the interval covers the seed of the single one, too."""
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=2000)

    def draw(accuracy: float) -> Predictions:
        right = generator.random(2000) < accuracy
        return predict(np.where(right, labels, 1 - labels).tolist(), labels.tolist())

    three = [draw(share) for share in (0.75, 0.80, 0.85)]
    one = compare(three[1:2], three, np.arange(2000)).find("accuracy").interval
    assert one is not None
    assert one.high - one.low > 0.2


@pytest.mark.parametrize("separations", [(2.5, 2.5), (2.3, 2.6)])
def test_intervals_hold_and_verdicts_are_seldom_wrong(separations: tuple[float, float]) -> None:
    """The intervals of 300 simulated pairs hold the truth in about 95 %; p < 0.05 is rare by chance."""
    generator = np.random.default_rng(0)
    many = np.arange(100_000)
    models = draw_models(many, separations=separations, num_classes=4, generator=generator)
    accuracies = [float(model.is_correct.mean()) for model in models]
    truth = 0.0 if separations[0] == separations[1] else accuracies[1] - accuracies[0]
    num_held = num_called = 0
    for _ in range(300):
        groups = np.arange(1200) // 2
        first, other = draw_models(groups, separations=separations, num_classes=4, generator=generator)
        found = compare([first], [other], groups)
        interval = found.find("accuracy").interval
        assert interval is not None
        num_held += interval.low <= truth <= interval.high
        num_called += found.overall.p_value < LEVEL
    assert 0.92 * 300 <= num_held <= 0.98 * 300
    assert num_called <= 0.08 * 300 if truth == 0 else num_called > 0.3 * 300


def test_needed_images_would_tell() -> None:
    """With as many images as the comparison asks for, about 80 % of test sets tell the difference."""
    generator = np.random.default_rng(0)

    def draw(num_images: int) -> list[Predictions]:
        return draw_models(np.arange(num_images), separations=(2.4, 2.55), num_classes=4, generator=generator)

    many = draw(100_000)
    needed = compare(many[:1], many[1:], np.arange(100_000)).overall.num_images_needed
    assert needed is not None
    num_images = round(needed)
    num_told = 0
    for _ in range(100):
        first, other = draw(num_images)
        num_told += compare([first], [other], np.arange(num_images)).overall.p_value < LEVEL
    assert 65 <= num_told <= 95


def test_a_class_of_few_images_has_no_interval_anywhere() -> None:
    """Neither the metrics over all classes nor their differences, where one class has four images."""
    labels = [0] * 96 + [1] * 4
    runs = [predict([0] * 90 + [1] * 10, labels), predict([0] * 93 + [1] * 7, labels)]
    groups = np.arange(100)
    found, estimates = compare(runs[:1], runs[1:], groups), estimate(runs[:1], groups)
    for name in ("balanced_accuracy", "macro_f1"):
        assert found.find(name).interval is None
        assert estimates[name][1] is None
    assert estimates["accuracy"][1] is not None


def test_folds_say_more_about_the_seed() -> None:
    """Two seeds of five folds are ten networks: the interval holds as often as two runs', and is narrower."""
    generator = np.random.default_rng(0)
    labels, folds = generator.integers(2, size=2000), np.arange(2000) % 5
    widths = {"whole": 0.0, "in folds": 0.0}
    num_held = 0
    for _ in range(100):
        runs = []
        for accuracies in generator.normal(0.8, 0.04, size=(2, 5)):
            right = generator.random(2000) < accuracies[folds]
            runs.append(predict(np.where(right, labels, 1 - labels).tolist(), labels.tolist()))
        whole, in_folds = (estimate(runs, np.arange(2000), folds=of)["accuracy"][1] for of in (None, folds))
        assert whole is not None
        assert in_folds is not None
        widths["whole"] += whole.high - whole.low
        widths["in folds"] += in_folds.high - in_folds.low
        num_held += in_folds.low <= 0.8 <= in_folds.high
    assert 89 <= num_held <= 99
    assert widths["in folds"] < 0.7 * widths["whole"]


def test_the_interval_of_the_calibration_error_holds() -> None:
    """One model is calibrated and one too sure: chance raises the error of the first alone."""
    generator = np.random.default_rng(0)

    def draw(num_images: int) -> list[Predictions]:
        return draw_models(
            np.arange(num_images),
            separations=(2.5, 2.5),
            sharpness=(1.0, 1.6),
            num_classes=10,
            generator=generator,
        )

    many = draw(100_000)
    truth = compare(many[:1], many[1:], np.arange(100_000)).find("ece").value
    num_held = 0
    for _ in range(100):
        first, other = draw(1000)
        interval = compare([first], [other], np.arange(1000)).find("ece").interval
        assert interval is not None
        num_held += interval.low <= truth <= interval.high
    assert num_held >= 88


def test_an_error_that_chance_explains_may_be_none() -> None:
    """A calibrated model's true error may be 0; that of one far too sure is not, and lies in its interval."""
    generator = np.random.default_rng(0)
    calibrated, too_sure = draw_models(
        np.arange(2000), separations=(2.5, 2.5), sharpness=(1.0, 3.0), num_classes=10, generator=generator
    )
    (_, low), (value, high) = (estimate([run], np.arange(2000))["ece"] for run in (calibrated, too_sure))
    assert low is not None
    assert high is not None
    assert low.low == 0
    assert 0.05 < high.low < value < high.high
