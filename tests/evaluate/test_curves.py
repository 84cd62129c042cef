"""Precision-recall and ROC curves against scikit-learn, bounded."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn import metrics as reference

from stages.evaluate.answers import Answers
from stages.evaluate.curves import MAX_CLASSES, trace_curves
from tests.evaluate.drawn_answers import answers, decide, draw_answers


@settings(deadline=None)
@given(answers(with_equals=True))
def test_places_are_among_those_of_scikit_learn(found: Answers) -> None:
    """Every place of a short curve is one that scikit-learn finds, and the ROC curve has its area."""
    probabilities = found.probabilities_of(slice(None)).numpy()
    for curve in trace_curves(found):
        is_positive, scores = found.labels == curve.label, probabilities[:, curve.label]
        precision, recall, _ = reference.precision_recall_curve(is_positive, scores)
        known = np.stack([recall, precision], axis=1)
        for place in curve.precision_recall[1:]:
            assert np.abs(known - place).max(axis=1).min() < 1e-12
        assert curve.precision_recall[-1][0] == 1.0
        if is_positive.all():
            assert curve.roc == []
            continue
        false_rate, true_rate = np.array(curve.roc).T
        assert np.trapezoid(true_rate, false_rate) == pytest.approx(
            reference.roc_auc_score(is_positive, scores)
        )


def test_long_curves_keep_their_shape() -> None:
    """A hundred places of thousands are within a thousandth of the whole area."""
    found = draw_answers(5000, num_classes=2)
    scores = found.probabilities_of(slice(None))[:, 1].numpy()
    curve = trace_curves(found)[1]
    assert len(curve.roc) <= 101
    assert len(curve.precision_recall) <= 101
    false_rate, true_rate = np.array(curve.roc).T
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(
        reference.roc_auc_score(found.labels, scores), abs=1e-3
    )
    recall, precision = np.array(curve.precision_recall).T
    assert np.trapezoid(precision, recall) == pytest.approx(
        reference.average_precision_score(found.labels, scores), abs=5e-3
    )
    assert curve.roc[0] == (0.0, 0.0)
    assert curve.roc[-1] == (1.0, 1.0)


def test_classes_with_most_images_are_drawn() -> None:
    """Of many classes only the largest are, in the order of the classes; those without images never."""
    labels = torch.cat([torch.arange(30), torch.arange(10, 30)])
    curves = trace_curves(decide(torch.zeros(50, 31), labels))
    assert [curve.label for curve in curves] == list(range(10, 30))
    assert len(curves) == MAX_CLASSES
    assert [curve.label for curve in trace_curves(draw_answers(1))] == [int(draw_answers(1).labels[0])]
