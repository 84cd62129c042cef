"""Figures of the classes' counts, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from stages.evaluate.figures import OF_TALLY
from stages.vision.scores import Counts, tally_confusion

pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]
confusions = arrays.arrays(np.int64, (4, 4), elements=st.integers(0, 9)).filter(
    lambda matrix: matrix.sum() > 0
)


@settings(deadline=None)
@given(confusions)
def test_figures_are_those_of_scikit_learn(confusion: Counts) -> None:
    """Each figure is scikit-learn's for the same answers, also where classes or answers are missing."""
    labels, answers = (np.repeat(places, confusion.ravel()) for places in np.indices((4, 4)).reshape(2, -1))
    found = {name: float(measure(tally_confusion(confusion))) for name, measure in OF_TALLY.items()}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, answers))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(labels, answers, average="macro"))
    assert found["weighted_f1"] == pytest.approx(reference.f1_score(labels, answers, average="weighted"))
    assert found["matthews_correlation"] == pytest.approx(reference.matthews_corrcoef(labels, answers))
    if len({*labels, *answers}) > 1:  # scikit-learn has no number for one class that is always answered
        assert found["cohens_kappa"] == pytest.approx(reference.cohen_kappa_score(labels, answers))


@given(st.lists(confusions, min_size=1, max_size=3))
def test_many_tallies_at_once(matrices: list[Counts]) -> None:
    """A stack of matrices gives the figures of each."""
    for measure in OF_TALLY.values():
        each = [float(measure(tally_confusion(matrix))) for matrix in matrices]
        assert measure(tally_confusion(np.stack(matrices))).tolist() == each
