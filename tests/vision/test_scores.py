"""Metrics from a confusion matrix equal scikit-learn's from labels and predictions."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from stages.vision import scores

Labels = npt.NDArray[np.int64]

pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[int, Labels, Labels]:
    """Draw a number of classes, labels (N,) and predictions (N,); some classes may have neither."""
    num_classes = draw(st.integers(2, 6))
    one = st.integers(0, num_classes - 1)
    pairs = np.array(draw(st.lists(st.tuples(one, one), min_size=1, max_size=30)), dtype=np.int64)
    return num_classes, pairs[:, 0], pairs[:, 1]


@settings(deadline=None)
@given(predictions())
def test_confusion_counts_every_pair(drawn: tuple[int, Labels, Labels]) -> None:
    """Rows are labels, columns predictions, also for classes without images."""
    num_classes, labels, predicted = drawn
    confusion = scores.count_confusion(labels, predicted, num_classes=num_classes)
    expected = reference.confusion_matrix(labels, predicted, labels=range(num_classes))
    assert confusion.dtype == np.int64
    assert np.array_equal(confusion, expected)


@settings(deadline=None)
@given(predictions())
def test_headline_scores_are_those_of_scikit_learn(drawn: tuple[int, Labels, Labels]) -> None:
    """Accuracy, balanced accuracy and macro F1 agree for any predictions."""
    num_classes, labels, predicted = drawn
    confusion = scores.count_confusion(labels, predicted, num_classes=num_classes)
    tally = scores.tally_confusion(confusion)
    found = [
        float(score)
        for score in (scores.accuracy(tally), scores.balanced_accuracy(tally), scores.macro_f1(tally))
    ]
    expected = (
        reference.accuracy_score(labels, predicted),
        reference.balanced_accuracy_score(labels, predicted),
        reference.f1_score(labels, predicted, average="macro"),
    )
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(0 <= score <= 1 for score in found)


@settings(deadline=None)
@given(predictions())
def test_class_scores_are_those_of_scikit_learn(drawn: tuple[int, Labels, Labels]) -> None:
    """Precision, recall and F1 of each class agree; where the denominator is 0, they are 0."""
    num_classes, labels, predicted = drawn
    confusion = scores.count_confusion(labels, predicted, num_classes=num_classes)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(num_classes), zero_division=0.0
    )
    tally = scores.tally_confusion(confusion)
    np.testing.assert_allclose(scores.precision(tally), precision, atol=1e-12)
    np.testing.assert_allclose(scores.recall(tally), recall, atol=1e-12)
    np.testing.assert_allclose(scores.f1(tally), f1, atol=1e-12)


def test_thousand_classes_are_counted() -> None:
    """The matrix of 1000 classes is right in its corners and in its sum."""
    labels, predicted = np.array([0, 999, 999]), np.array([999, 0, 999])
    confusion = scores.count_confusion(labels, predicted, num_classes=1000)
    assert confusion.shape == (1000, 1000)
    assert (confusion[0, 999], confusion[999, 0], confusion[999, 999], confusion.sum()) == (1, 1, 1, 3)
    assert float(scores.balanced_accuracy(scores.tally_confusion(confusion))) == 0.25
