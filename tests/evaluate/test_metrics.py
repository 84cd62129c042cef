"""What answers are worth, against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor

from schemas.evaluate.test_metrics import TestMetrics
from schemas.vision.calibration import Calibration, Threshold
from stages.evaluate.calibration import measure_calibration
from stages.evaluate.metrics import compute_metrics, rank_mistakes, score_classes
from stages.vision.scores import count_confusion

NO_CALIBRATION = Calibration(
    temperature=1.0, thresholds=(Threshold(probability=0.0, answered_fraction=1.0, accuracy=0.5),)
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
]


def measure(logits: Tensor, labels: Tensor, *, top_k: int) -> TestMetrics:
    """Return the headline figures without calibration."""
    figures = measure_calibration(logits, labels, calibration=NO_CALIBRATION, target_accuracy=0.5)
    return compute_metrics(logits, labels, top_k=top_k, calibration=figures)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw logits (N, C) without equals, and labels (N,)."""
    num_classes, num_images = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = draw(st.floats(0.1, 30)) * torch.randn(num_images, num_classes, generator=generator)
    return logits, torch.randint(num_classes, (num_images,), generator=generator)


@settings(deadline=None)
@given(answers(), st.integers(2, 8))
def test_metrics_are_those_of_scikit_learn(drawn: tuple[Tensor, Tensor], top_k: int) -> None:
    """Loss, accuracies, F1 and top-k agree for any answers, also where k is the number of classes or more."""
    logits, labels = drawn
    classes, predicted = np.arange(logits.shape[1]), logits.argmax(dim=1)
    probabilities = logits.double().softmax(dim=1).numpy()
    found = measure(logits, labels, top_k=top_k)
    assert found.num_images == len(labels)
    log_probabilities = logits.double().log_softmax(dim=1)
    assert found.loss == pytest.approx(-log_probabilities[range(len(labels)), labels].mean().item())
    if log_probabilities.min() > -30:  # scikit-learn takes smaller probabilities for larger ones
        assert found.loss == pytest.approx(reference.log_loss(labels, probabilities, labels=classes))
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert found.majority_accuracy == pytest.approx(np.bincount(labels).max() / len(labels))
    if len(classes) > 2 and top_k < len(classes):  # scikit-learn refuses the rest
        expected = reference.top_k_accuracy_score(labels, logits.numpy(), k=top_k, labels=classes)
        assert found.top_k_accuracy == pytest.approx(expected)
    if top_k >= len(classes):
        assert found.top_k_accuracy == 1.0


def test_two_equal_logits_count_in_the_order_of_the_classes() -> None:
    """Of equal logits the first is the answer; top-k agrees, so that it is never below accuracy."""
    logits = torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(4, 1)
    found = measure(logits, torch.tensor([0, 0, 1, 2]), top_k=2)
    assert found.accuracy == 0.5
    assert found.top_k_accuracy == 0.75


@pytest.mark.parametrize("top_k", [2, 5, 999, 1000, 5000])
def test_thousand_classes(top_k: int) -> None:
    """With 1000 classes and k up to all of them, the share is that of the places of the true classes."""
    logits = -torch.arange(1000.0).repeat(1000, 1)
    found = measure(logits, torch.arange(1000), top_k=top_k)
    assert found.accuracy == pytest.approx(1 / 1000)
    assert found.top_k_accuracy == pytest.approx(min(top_k, 1000) / 1000)


def test_one_image_is_enough() -> None:
    """A split of one image, answered with certainty, has no loss and full scores."""
    found = measure(torch.tensor([[1e4, 0.0]]), torch.tensor([0]), top_k=2)
    assert (found.num_images, found.loss, found.accuracy, found.balanced_accuracy) == (1, 0.0, 1.0, 1.0)


def test_small_losses_are_not_rounded_away() -> None:
    """An answer right by 20 costs log(1 + e^-20), which float32 would round to 0."""
    found = measure(torch.tensor([[20.0, 0.0]]), torch.tensor([0]), top_k=2)
    assert found.loss == pytest.approx(np.log1p(np.exp(-20)), rel=1e-6)


def test_wrong_certainty_keeps_the_loss_finite() -> None:
    """An answer that is certain and wrong costs the distance of its logits, not infinity."""
    assert measure(torch.tensor([[1e4, 0.0]]), torch.tensor([1]), top_k=2).loss == 1e4


@settings(deadline=None)
@given(answers())
def test_class_table_is_that_of_scikit_learn(drawn: tuple[Tensor, Tensor]) -> None:
    """Each class has its support, precision, recall and F1, in the order of the classes."""
    logits, labels = drawn
    names = tuple("abcdef"[: logits.shape[1]])
    predicted = logits.argmax(dim=1)
    confusion = count_confusion(labels.numpy(), predicted.numpy(), num_classes=len(names))
    table = score_classes(confusion, names)
    expected = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(len(names)), zero_division=0.0
    )
    assert [row.label for row in table] == list(names)
    for row, (precision, recall, f1, support) in zip(table, zip(*expected, strict=True), strict=True):
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
        assert row.support == support


def test_worst_mistakes_come_first() -> None:
    """Only wrong answers are listed, those that gave the true class least first; equals keep their order."""
    probabilities = torch.tensor(
        [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], dtype=torch.float64
    )
    labels = torch.tensor([0, 0, 0, 0, 1])
    assert rank_mistakes(probabilities, labels) == [2, 1, 3, 4]
    assert rank_mistakes(probabilities[:1], labels[:1]) == []
