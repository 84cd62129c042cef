"""Intervals against theory, and against the plain bootstrap."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as reference

from stages.evaluate.answers import Answers
from stages.evaluate.intervals import Figure, Units, measure_figures, measure_share
from stages.evaluate.ranking import measure_ranking
from tests.evaluate.drawn_answers import decide, draw_answers


def measure(found: Answers, units: Units | None = None) -> dict[str, Figure]:
    """Return figures by name; each image stands alone unless units are given."""
    units = np.arange(found.num_images) if units is None else units
    figures = measure_figures(found, ranking=measure_ranking(found), units=units, top_k=2)
    return {figure.name: figure for figure in figures}


def right_and_wrong(is_right: NDArray[np.bool_]) -> Answers:
    """Return answers for images of two classes by turns, right and wrong as given, all equally certain."""
    labels = torch.arange(len(is_right)) % 2
    predicted = torch.where(torch.from_numpy(is_right), labels, 1 - labels)
    return decide(torch.nn.functional.one_hot(predicted, 2).float(), labels)


def test_interval_of_a_share_is_that_of_theory() -> None:
    """For 90 % of 1,000 images the bootstrap finds the interval of the normal approximation."""
    found = measure(right_and_wrong(np.arange(1000) % 10 > 0))
    deviation = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert found["accuracy"].value == pytest.approx(0.9)
    assert found["accuracy"].low == pytest.approx(0.9 - deviation, abs=2.5e-3)
    assert found["accuracy"].high == pytest.approx(0.9 + deviation, abs=2.5e-3)


def test_interval_of_the_loss_is_that_of_theory() -> None:
    """The mean loss is as uncertain as a mean of so many losses."""
    answered = draw_answers(1000)
    found = measure(answered)["loss"]
    expected = 2 * 1.96 * answered.losses.std() / np.sqrt(1000)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("num_copies", [1, 4])
def test_intervals_are_those_of_the_plain_bootstrap(num_copies: int) -> None:
    """Drawing images, or groups of copies, and asking scikit-learn each time gives the same intervals."""
    single = draw_answers(300, num_classes=3)
    answered = decide(single.logits.repeat(num_copies, 1), torch.from_numpy(single.labels).repeat(num_copies))
    units = np.tile(np.arange(300), num_copies)
    probabilities = answered.probabilities_of(slice(None)).numpy()
    generator = np.random.default_rng(7)
    expected: dict[str, list[float]] = {"weighted_f1": [], "roc_auc": [], "average_precision": []}
    for _ in range(300):
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in generator.integers(300, size=300)])
        labels, scores = answered.labels[rows], probabilities[rows]
        expected["weighted_f1"].append(
            reference.f1_score(labels, answered.predicted[rows], average="weighted")
        )
        expected["roc_auc"].append(reference.roc_auc_score(labels, scores, multi_class="ovr"))
        expected["average_precision"].append(reference.average_precision_score(np.eye(3)[labels], scores))
    found = measure(answered, units)
    for name, values in expected.items():
        width = np.diff(np.percentile(values, (2.5, 97.5)))[0]
        bounds = (found[name].low, found[name].high)
        assert bounds == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.15 * width)


def test_copies_tell_nothing_new() -> None:
    """Four copies of each image give the interval of one, when they are drawn together; else half of it."""
    is_right = np.arange(400) % 5 > 0
    copies, units = right_and_wrong(np.tile(is_right, 4)), np.tile(np.arange(400), 4)
    single, grouped, apart = (
        found["accuracy"].high - found["accuracy"].low
        for found in (measure(right_and_wrong(is_right)), measure(copies, units), measure(copies))
    )
    assert grouped == pytest.approx(single, rel=0.05)
    assert apart == pytest.approx(single / 2, rel=0.1)


def test_intervals_are_the_same_every_time() -> None:
    """Nothing is drawn from the clock, and every figure is within its interval."""
    answered = draw_answers(80)
    assert measure(answered) == measure(answered)
    for figure in measure(answered).values():
        assert figure.low <= figure.value <= figure.high


@pytest.mark.parametrize("num_images", [1, 30])
def test_a_test_split_without_mistakes(num_images: int) -> None:
    """Perfect answers stay perfect however they are drawn, those for a single image too."""
    found = measure(right_and_wrong(np.ones(num_images, dtype=bool)))
    names = ["accuracy", "macro_f1", "average_precision", *(["roc_auc"] if num_images > 1 else [])]
    assert all((found[name].low, found[name].high) == (1.0, 1.0) for name in names)
    assert all(np.isfinite([figure.low, figure.high]).all() for figure in found.values())


def test_share_has_wilsons_interval() -> None:
    """The bounds for 8, 10 and 0 of 10 are those of Wilson's formula, never beyond the share itself."""
    for num_right, bounds in ((8, (0.49016, 0.94331)), (10, (0.72247, 1.0)), (0, (0.0, 0.27753))):
        found = measure_share(np.arange(10) < num_right, np.arange(10))
        assert found == pytest.approx((num_right / 10, *bounds), abs=1e-5)


def test_share_counts_units_unless_there_is_one() -> None:
    """Two images each of ten groups are as good as ten images; of one group, images are what is drawn."""
    is_right = np.arange(10) >= 2
    single = measure_share(is_right, np.arange(10))
    assert measure_share(np.repeat(is_right, 2), np.repeat(np.arange(10), 2)) == single
    assert measure_share(is_right, np.zeros(10, dtype=np.int64)) == single
