"""Figures of the confusion matrix against scikit-learn, and their intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from stages.evaluate import intervals
from stages.evaluate.intervals import NUM_RESAMPLES, OF_CONFUSION, measure_figures
from stages.vision.scores import Counts

pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]
confusions = arrays.arrays(np.int64, (4, 4), elements=st.integers(0, 9)).filter(
    lambda matrix: matrix.sum() > 0
)


def spell_out(confusion: Counts) -> tuple[list[int], list[int]]:
    """Return the labels and answers that a confusion matrix counts."""
    pairs = [(row, column) for (row, column), count in np.ndenumerate(confusion) for _ in range(count)]
    labels, answers = zip(*pairs, strict=True)
    return list(labels), list(answers)


@settings(deadline=None)
@given(confusions)
def test_figures_are_those_of_scikit_learn(confusion: Counts) -> None:
    """Each figure is scikit-learn's for the same answers, also where classes or answers are missing."""
    labels, answers = spell_out(confusion)
    found = {name: float(measure(confusion)) for name, measure in OF_CONFUSION.items()}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, answers))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(labels, answers, average="macro"))
    assert found["weighted_f1"] == pytest.approx(reference.f1_score(labels, answers, average="weighted"))
    assert found["matthews_correlation"] == pytest.approx(reference.matthews_corrcoef(labels, answers))
    if len({*labels, *answers}) > 1:  # scikit-learn has no number for one class that is always answered
        assert found["cohens_kappa"] == pytest.approx(reference.cohen_kappa_score(labels, answers))


@given(st.lists(confusions, min_size=1, max_size=3))
def test_many_matrices_at_once(matrices: list[Counts]) -> None:
    """A stack of matrices gives the figures of each."""
    for measure in OF_CONFUSION.values():
        assert measure(np.stack(matrices)).tolist() == [float(measure(matrix)) for matrix in matrices]


def measure(confusion: Counts) -> dict[str, intervals.Figure]:
    num_images = int(confusion.sum())
    losses = np.random.default_rng(1).exponential(size=num_images)
    figures = measure_figures(confusion, is_in_top_k=np.arange(num_images) % 10 > 0, losses=losses)
    return {figure.name: figure for figure in figures}


def test_interval_of_a_share_is_that_of_theory() -> None:
    """For 90 % of 1,000 images the bootstrap finds the interval of the normal approximation."""
    found = measure(np.array([[450, 50], [50, 450]]))
    deviation = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    for name in ("accuracy", "top_k_accuracy"):
        assert found[name].value == pytest.approx(0.9)
        assert found[name].low == pytest.approx(0.9 - deviation, abs=2.5e-3)
        assert found[name].high == pytest.approx(0.9 + deviation, abs=2.5e-3)
    assert found["loss"].high - found["loss"].low == pytest.approx(2 * 1.96 / np.sqrt(1000), rel=0.15)


def test_intervals_are_those_of_drawn_images() -> None:
    """Drawing counts gives the interval that drawing one image after another gives."""
    confusion = np.array([[30, 5, 0], [2, 20, 3], [1, 0, 9]])
    labels, answers = map(np.array, spell_out(confusion))
    generator = np.random.default_rng(7)
    drawn = [generator.integers(len(labels), size=len(labels)) for _ in range(NUM_RESAMPLES)]
    expected = [reference.f1_score(labels[rows], answers[rows], average="weighted") for rows in drawn]
    found = measure(confusion)["weighted_f1"]
    assert (found.low, found.high) == pytest.approx(np.percentile(expected, (2.5, 97.5)), abs=0.015)


def test_intervals_are_the_same_every_time() -> None:
    """Nothing is drawn from the clock, and memory's bound does not show."""
    confusion = np.array([[30, 5, 0], [2, 20, 3], [1, 0, 9]])
    assert measure(confusion) == measure(confusion)
    for figure in measure(confusion).values():
        assert figure.low <= figure.value <= figure.high


def test_memory_bound_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resamples in pieces are those drawn all at once."""
    confusion = np.array([[30, 5, 0], [2, 20, 3], [1, 0, 9]])
    expected = measure(confusion)
    monkeypatch.setattr(intervals, "_NUMBERS_AT_ONCE", 1000)
    assert measure(confusion) == expected


def test_a_test_split_without_mistakes() -> None:
    """Perfect answers stay perfect however they are drawn."""
    found = measure(np.diag([5, 1, 3]))
    assert all((found[name].low, found[name].high) == (1.0, 1.0) for name in ("accuracy", "macro_f1"))
