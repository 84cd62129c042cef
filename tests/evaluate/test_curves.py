"""ROC and precision-recall curves, their areas and influences, against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from stages.evaluate.curves import MAX_CURVES, measure_areas, rank_images, trace_curves
from stages.evaluate.predictions import Predictions
from tests.evaluate.drawn_predictions import draw_predictions, predict, predictions


def expected(
    found: Predictions, label: int, weights: list[float] | None = None
) -> tuple[float | None, float | None]:
    """Return scikit-learn's AUC and average precision of a class, None where it has none."""
    is_positive, scores = found.labels == label, found.probabilities(slice(None))[:, label]
    if not is_positive.any():
        return None, None
    precision = reference.average_precision_score(is_positive, scores, sample_weight=weights)
    if is_positive.all():
        return None, float(precision)
    return float(reference.roc_auc_score(is_positive, scores, sample_weight=weights)), float(precision)


@settings(deadline=None)
@given(st.one_of(predictions(), predictions(with_ties=True)))
def test_areas_are_those_of_scikit_learn(found: Predictions) -> None:
    """Each class and the means agree, also with ties and classes without images."""
    found_areas = measure_areas(found)
    aucs, precisions = zip(*(expected(found, label) for label in range(found.num_classes)), strict=True)
    for areas, wanted in ((found_areas.roc_auc, aucs), (found_areas.average_precision, precisions)):
        assert [value is None for value in areas.by_class] == [value is None for value in wanted]
        known = [value for value in wanted if value is not None]
        assert [value for value in areas.by_class if value is not None] == pytest.approx(known)
        if known:
            assert areas.mean == pytest.approx(np.mean(known))


def test_all_classes_there_is_what_scikit_learn_calls_ovr() -> None:
    """With images of every class the mean AUC is `roc_auc_score(multi_class="ovr")`."""
    found = draw_predictions(200, num_classes=5)
    probabilities = found.probabilities(slice(None)).numpy()
    wanted = reference.roc_auc_score(found.labels, probabilities, multi_class="ovr", average="macro")
    assert measure_areas(found).roc_auc.mean == pytest.approx(wanted)


def test_perfect_predictions_score_one() -> None:
    """Both areas are 1, and no image has any influence."""
    found_areas = measure_areas(predict(20 * torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4)))
    for areas in (found_areas.roc_auc, found_areas.average_precision):
        assert (areas.mean, set(areas.by_class)) == (1.0, {1.0})
        assert areas.influence.tolist() == pytest.approx([0.0] * 12)


def test_one_image_leaves_nothing_to_tell_apart() -> None:
    """The AUC of a single class is chance; its precision is full."""
    found_areas = measure_areas(predict(torch.tensor([[1.0, 0.0]]), torch.tensor([0])))
    assert (found_areas.roc_auc.mean, found_areas.roc_auc.by_class) == (0.5, (None, None))
    assert (found_areas.average_precision.mean, found_areas.average_precision.by_class) == (1.0, (1.0, None))


@pytest.mark.parametrize("with_ties", [False, True])
def test_influence_is_the_derivative(with_ties: bool) -> None:
    """Weighting one image a little more changes scikit-learn's weighted areas as its influence says."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(25, 3, generator=generator)
    if with_ties:
        logits = logits.round()
    found = predict(logits, torch.randint(3, (25,), generator=generator))
    found_areas = measure_areas(found)
    for image in range(found.num_images):
        ends = []
        for change in (-1e-4, 1e-4):
            weights = [1.0 + change * (other == image) for other in range(found.num_images)]
            pairs = [expected(found, label, weights) for label in range(3)]
            ends.append(np.mean(np.array(pairs, dtype=float), axis=0))
        slope = (ends[1] - ends[0]) / 2e-4
        found_slope = (found_areas.roc_auc.influence[image], found_areas.average_precision.influence[image])
        assert found_slope == pytest.approx(slope, abs=1e-7)


def test_influences_add_up_to_zero() -> None:
    """Counting every image twice changes no area."""
    found_areas = measure_areas(draw_predictions(500))
    assert found_areas.roc_auc.influence.sum() == pytest.approx(0, abs=1e-12)
    assert found_areas.average_precision.influence.sum() == pytest.approx(0, abs=1e-12)


def test_ties_are_one_step() -> None:
    """Lowering a threshold takes in all images of one score at once."""
    ranking = rank_images(np.array([0.5, 0.9, 0.5, 0.1]), np.array([True, True, False, False]))
    assert ranking.step_sizes.tolist() == [1, 2, 1]
    assert ranking.num_positive.tolist() == [1, 2, 2]
    assert ranking.num_taken.tolist() == [1, 3, 4]


@settings(deadline=None)
@given(predictions(with_ties=True))
def test_points_are_among_those_of_scikit_learn(found: Predictions) -> None:
    """Every point of a short curve is one of scikit-learn's, and the ROC curve has its area."""
    probabilities = found.probabilities(slice(None)).numpy()
    for curve in trace_curves(found):
        is_positive, scores = found.labels == curve.label, probabilities[:, curve.label]
        precision, recall, _ = reference.precision_recall_curve(is_positive, scores)
        known = np.stack([recall, precision], axis=1)
        for point in curve.precision_recall[1:]:
            assert np.abs(known - point).max(axis=1).min() < 1e-12
        assert curve.precision_recall[-1][0] == 1.0
        if is_positive.all():
            assert curve.roc == []
            continue
        false_rate, true_rate = np.array(curve.roc).T
        assert np.trapezoid(true_rate, false_rate) == pytest.approx(
            reference.roc_auc_score(is_positive, scores)
        )


def test_long_curves_keep_their_shape() -> None:
    """A hundred points of thousands give the whole area to a thousandth."""
    found = draw_predictions(5000, num_classes=2)
    scores = found.probabilities(slice(None))[:, 1].numpy()
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
    """Of many classes only the largest, in class order; those without images never."""
    labels = torch.cat([torch.arange(30), torch.arange(10, 30)])
    curves = trace_curves(predict(torch.zeros(50, 31), labels))
    assert [curve.label for curve in curves] == list(range(10, 30))
    assert len(curves) == MAX_CURVES
    single = draw_predictions(1)
    assert [curve.label for curve in trace_curves(single)] == single.labels.tolist()
