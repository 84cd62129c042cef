"""Predictions, made block by block: every number follows from the logits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from stages.evaluate import predictions as module
from stages.evaluate.predictions import Predictions, split_by_class
from tests.evaluate.drawn_predictions import NO_CALIBRATION, draw_predictions, predict, predictions

pytestmark = pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")


@settings(deadline=None)
@given(predictions(), st.integers(2, 8))
def test_losses_and_top_k_are_those_of_scikit_learn(found: Predictions, top_k: int) -> None:
    """Losses and ranks of the true classes agree, also if k is the number of classes or more."""
    classes = np.arange(found.num_classes)
    log_probabilities = found.logits.double().log_softmax(dim=1)
    expected = -log_probabilities[range(found.num_images), found.labels]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-9, atol=1e-12)
    if log_probabilities.min() > -30:  # scikit-learn takes smaller probabilities for larger ones
        probabilities = found.probabilities(slice(None)).numpy()
        assert found.losses.mean() == pytest.approx(
            reference.log_loss(found.labels, probabilities, labels=classes)
        )
    top_k_accuracy = (found.label_rank < top_k).mean()
    if found.num_classes > 2 and top_k < found.num_classes:  # scikit-learn refuses the rest
        expected_accuracy = reference.top_k_accuracy_score(
            found.labels, found.logits.numpy(), k=top_k, labels=classes
        )
        assert top_k_accuracy == pytest.approx(expected_accuracy)
    if top_k >= found.num_classes:
        assert top_k_accuracy == 1.0


@given(predictions(with_ties=True))
def test_no_two_numbers_disagree(found: Predictions) -> None:
    """A prediction is correct exactly where no class ranks above the true one, also among ties."""
    probabilities = found.probabilities(slice(None)).numpy()
    assert found.predicted.tolist() == probabilities.argmax(axis=1).tolist()
    assert found.is_correct.tolist() == (found.label_rank == 0).tolist()
    assert np.trace(found.confusion) == found.is_correct.sum()
    images = range(found.num_images)
    assert found.confidence.tolist() == probabilities[images, found.predicted].tolist()
    assert found.label_probability.tolist() == probabilities[images, found.labels].tolist()


def test_logits_that_differ_by_less_than_probabilities_can_tell() -> None:
    """If two logits differ but their probabilities do not, the first class is predicted."""
    found = predict(torch.tensor([[0.0, 1e-20]]), torch.tensor([0]))
    assert found.logits.argmax() == 1
    assert (found.predicted.tolist(), found.label_rank.tolist()) == ([0], [0])
    assert found.confusion.tolist() == [[1, 0], [0, 0]]


def test_ties_rank_in_class_order() -> None:
    """Of equal logits the first is predicted; top-k agrees, so that it is never below accuracy."""
    logits = torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(4, 1)
    found = predict(logits, torch.tensor([0, 0, 1, 2]))
    assert found.is_correct.mean() == 0.5
    assert (found.label_rank < 2).mean() == 0.75


@pytest.mark.parametrize("top_k", [2, 5, 999, 1000, 5000])
def test_thousand_classes(top_k: int) -> None:
    """With 1000 classes and k up to all of them, top-k accuracy follows from the ranks."""
    logits = -torch.arange(1000.0).repeat(1000, 1)
    found = predict(logits, torch.arange(1000))
    assert found.is_correct.mean() == pytest.approx(1 / 1000)
    assert (found.label_rank < top_k).mean() == pytest.approx(min(top_k, 1000) / 1000)


def test_small_losses_are_not_rounded_away() -> None:
    """A correct prediction with a margin of 20 costs log(1 + e^-20), which float32 would round to 0."""
    found = predict(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))
    assert found.losses[0] == pytest.approx(np.log1p(np.exp(-20)), rel=1e-6)


def test_wrong_certainty_keeps_the_loss_finite() -> None:
    """A certain and wrong prediction costs the difference of its logits, not infinity."""
    assert predict(torch.tensor([[1e4, 0.0]]), torch.tensor([1])).losses[0] == 1e4


def test_temperature_scales_all_but_the_raw_confidence() -> None:
    """Probabilities and losses are those of the divided logits."""
    calibration = NO_CALIBRATION.model_copy(update={"temperature": 2.0})
    found = predict(torch.tensor([[2.0, 0.0]]), torch.tensor([1]), calibration=calibration)
    assert found.confidence[0] == pytest.approx(1 / (1 + np.exp(-1)))
    assert found.raw_confidence[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert found.label_probability[0] == pytest.approx(1 / (1 + np.exp(1)))
    assert found.losses[0] == pytest.approx(np.log1p(np.exp(1)))


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions made in blocks equal those made all at once, to the last bit."""
    whole = draw_predictions(50)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 12)
    pieces = draw_predictions(50)
    for name in ("predicted", "confidence", "raw_confidence", "label_probability", "losses", "label_rank"):
        assert getattr(pieces, name).tolist() == getattr(whole, name).tolist()


def test_columns_have_the_bits_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns, however many are computed at once, equal those of the rows."""
    found = draw_predictions(40)
    rows = found.probabilities(slice(None)).numpy()
    for kept in (1, 80, 10_000):
        monkeypatch.setattr(module, "_MAX_COLUMN_VALUES", kept)
        columns = dict(found.class_probabilities([3, 0, 1]))
        assert list(columns) == [3, 0, 1]
        assert all(column.tolist() == rows[:, label].tolist() for label, column in columns.items())


def test_images_are_split_by_class() -> None:
    """Each class has its images in order; one without images has none."""
    found = split_by_class(np.array([2, 0, 2, 3, 0]))
    assert [images.tolist() for images in found] == [[1, 4], [], [0, 2], [3]]
