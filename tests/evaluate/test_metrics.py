"""Metrics and per-class scores, against scikit-learn; which classes the confusion matrix shows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from schemas.evaluate.test_metrics import TestMetrics
from stages.evaluate.calibration import measure_calibration
from stages.evaluate.curves import measure_areas
from stages.evaluate.examples import list_shown_cells
from stages.evaluate.metrics import (
    TALLY_METRICS,
    choose_matrix_classes,
    collect_metrics,
    estimate_metrics,
    measure_leaks,
    rank_confused_pairs,
    score_classes,
)
from stages.evaluate.predictions import Ints, Predictions
from stages.vision.scores import tally_confusion
from tests.evaluate.drawn_predictions import draw_predictions, predict, predictions

pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
    pytest.mark.filterwarnings("ignore:invalid value encountered"),
]
confusions = arrays.arrays(np.int64, (4, 4), elements=st.integers(0, 9)).filter(
    lambda matrix: matrix.sum() > 0
)


def measure(found: Predictions, *, top_k: int = 2) -> TestMetrics:
    """Return the metrics, each image a group of its own."""
    groups = np.arange(found.num_images)
    return collect_metrics(
        found,
        estimate_metrics(found, areas=measure_areas(found), groups=groups, top_k=top_k),
        measure_calibration(found, groups, target_accuracy=0.5, confidence=0.9),
        measure_leaks([""] * found.num_images, found.is_correct),
        baseline=None,
    )


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    """Every metric agrees with scikit-learn's on the predictions and probabilities."""
    drawn = draw_predictions(60, num_classes=5, seed=seed)
    labels, predicted = drawn.labels, drawn.predicted
    probabilities = drawn.probabilities(slice(None)).numpy()
    found = measure(drawn, top_k=3)
    assert found.num_images == 60
    assert found.log_loss == pytest.approx(reference.log_loss(labels, probabilities))
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert found.matthews_correlation == pytest.approx(reference.matthews_corrcoef(labels, predicted))
    assert found.roc_auc == pytest.approx(reference.roc_auc_score(labels, probabilities, multi_class="ovr"))
    is_class = np.eye(5)[labels]
    assert found.average_precision == pytest.approx(
        reference.average_precision_score(is_class, probabilities, average="macro")
    )
    assert found.top_k_accuracy == pytest.approx(reference.top_k_accuracy_score(labels, probabilities, k=3))
    assert found.majority_accuracy == pytest.approx(np.bincount(labels).max() / 60)


def test_accuracy_without_leaks() -> None:
    """Images that training knew are counted by what they share with it, and left out of a second accuracy."""
    is_correct = np.array([True, True, True, False, True, False])
    leaks = measure_leaks(["copy", "copy", "group", "", "", ""], is_correct)
    assert (dict(leaks.counts), leaks.num_images) == ({"copy": 2, "group": 1}, 3)
    assert leaks.accuracy_without == pytest.approx(1 / 3)
    for relations in ([""] * 6, ["copy"] * 6):
        assert measure_leaks(relations, is_correct).accuracy_without is None


def test_one_image_is_enough() -> None:
    """One image, predicted with certainty, has no loss and full scores."""
    found = measure(predict(torch.tensor([[1e4, 0.0]]), torch.tensor([0])))
    assert (found.num_images, found.log_loss, found.accuracy, found.balanced_accuracy) == (1, 0.0, 1.0, 1.0)


@settings(deadline=None)
@given(predictions())
def test_class_scores_are_those_of_scikit_learn(found: Predictions) -> None:
    """Each class has its support, precision, recall and F1, in class order."""
    names = "abcdef"[: found.num_classes]
    areas = [None, *[0.5] * (found.num_classes - 1)]
    table = score_classes(found, classes=names, groups=np.arange(found.num_images), average_precision=areas)
    expected = reference.precision_recall_fscore_support(
        found.labels, found.predicted, labels=range(len(names)), zero_division=0.0
    )
    assert [row.label for row in table] == list(names)
    assert [row.average_precision for row in table] == areas
    for row, (precision, recall, f1, support) in zip(table, zip(*expected, strict=True), strict=True):
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
        assert row.support == support


@settings(deadline=None)
@given(confusions)
def test_tally_metrics_are_those_of_scikit_learn(confusion: Ints) -> None:
    """Each metric is scikit-learn's, also if classes have no images or are never predicted."""
    labels, predicted = (np.repeat(places, confusion.ravel()) for places in np.indices((4, 4)).reshape(2, -1))
    found = {name: float(metric(tally_confusion(confusion))) for name, metric in TALLY_METRICS.items()}
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert found["weighted_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="weighted"))
    assert found["matthews_correlation"] == pytest.approx(reference.matthews_corrcoef(labels, predicted))
    if len({*labels, *predicted}) > 1:  # scikit-learn gives NaN for one class that is always predicted
        assert found["cohens_kappa"] == pytest.approx(reference.cohen_kappa_score(labels, predicted))


@given(st.lists(confusions, min_size=1, max_size=3))
def test_many_tallies_at_once(matrices: list[Ints]) -> None:
    """A stack of matrices gives the metrics of each."""
    for metric in TALLY_METRICS.values():
        each = [float(metric(tally_confusion(matrix))) for matrix in matrices]
        assert metric(tally_confusion(np.stack(matrices))).tolist() == each


def test_of_many_classes_the_most_confused_are_shown() -> None:
    """Above thirty classes at most twenty have a row, and the cells of all listed pairs can be opened."""
    confusion = np.eye(100, dtype=np.int64) * 50
    confusion[7, 70], confusion[70, 3] = 9, 4
    confusion[20:40, 41] = 1
    shown = choose_matrix_classes(confusion)
    assert {3, 7, 70} <= set(shown)
    assert len(shown) <= 20
    assert shown == sorted(shown)
    pairs = {(pair.label, pair.predicted) for pair in rank_confused_pairs(confusion)}
    assert (7, 70) in pairs
    assert pairs <= set(list_shown_cells(confusion))
