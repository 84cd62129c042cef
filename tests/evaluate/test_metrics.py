"""Headline figures and the per-class table, against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn import metrics as reference

from schemas.evaluate.test_metrics import TestMetrics
from stages.evaluate.answers import Answers
from stages.evaluate.calibration import measure_calibration
from stages.evaluate.intervals import measure_figures
from stages.evaluate.metrics import compute_metrics, rank_mistakes, score_classes
from stages.evaluate.ranking import measure_ranking
from tests.evaluate.drawn_answers import answers, decide, draw_answers

pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
]


def measure(found: Answers, *, top_k: int = 2) -> TestMetrics:
    """Return the headline figures, every image standing alone."""
    units = np.arange(found.num_images)
    return compute_metrics(
        found,
        figures=measure_figures(found, ranking=measure_ranking(found), units=units, top_k=top_k),
        calibration=measure_calibration(found, target_accuracy=0.5),
    )


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    """Every headline figure agrees with scikit-learn's on the answers and probabilities."""
    answered = draw_answers(60, num_classes=5, seed=seed)
    labels, predicted = answered.labels, answered.predicted
    probabilities = answered.probabilities_of(slice(None)).numpy()
    found = measure(answered, top_k=3)
    assert found.num_images == 60
    assert found.loss == pytest.approx(reference.log_loss(labels, probabilities))
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


def test_one_image_is_enough() -> None:
    """A split of one image, answered with certainty, has no loss and full scores."""
    found = measure(decide(torch.tensor([[1e4, 0.0]]), torch.tensor([0])))
    assert (found.num_images, found.loss, found.accuracy, found.balanced_accuracy) == (1, 0.0, 1.0, 1.0)


@settings(deadline=None)
@given(answers())
def test_class_table_is_that_of_scikit_learn(found: Answers) -> None:
    """Each class has its support, precision, recall and F1, in the order of the classes."""
    names = "abcdef"[: found.num_classes]
    areas = [None, *[0.5] * (found.num_classes - 1)]
    table = score_classes(found.confusion, classes=names, average_precision=areas)
    expected = reference.precision_recall_fscore_support(
        found.labels, found.predicted, labels=range(len(names)), zero_division=0.0
    )
    assert [row.label for row in table] == list(names)
    assert [row.average_precision for row in table] == areas
    for row, (precision, recall, f1, support) in zip(table, zip(*expected, strict=True), strict=True):
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
        assert row.support == support


def test_worst_mistakes_come_first() -> None:
    """Only wrong answers are listed, those that gave the true class least first; equals keep their order."""
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 0, 1])
    assert rank_mistakes(decide(probabilities.log(), labels)) == [2, 1, 3, 4]
    assert rank_mistakes(decide(probabilities[:1].log(), labels[:1])) == []
