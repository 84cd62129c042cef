"""Losses: their formulas, against torch and torchvision, and class weights."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from schemas.train.loss import Loss
from stages.shared.errors import InputError
from stages.train.loss import BinaryCrossEntropy, CrossEntropy, FocalLoss, build_loss, compute_class_weights
from tests.vision.completeness import names_of, read_section

WEIGHTS = [None, torch.tensor([0.5, 2.0, 1.0, 4.0])]
GAMMAS = [0.0, 0.3, 1.0, 2.0, 5.0]


def make_section(name: str = "focal", class_weights: Any = None, **blocks: Any) -> Loss:
    """Return a `loss` section."""
    section = {**read_section("loss"), "name": name, "class_weights": class_weights, **blocks}
    return Loss.model_validate(section)


def make_batch(num_classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return random logits (7, C) float64 and labels (7,)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, num_classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(num_classes, (7,), generator=generator)


@pytest.mark.parametrize("name", names_of(Loss))
def test_every_loss_of_the_schema_is_built(name: str) -> None:
    """A loss that params.yaml may name is built, and class weights are a buffer that moves along with it."""
    logits, labels = torch.zeros(3, 2, requires_grad=True), torch.tensor([0, 1, 1])
    plain = build_loss(make_section(name), class_counts=(1, 2))
    weighted = build_loss(make_section(name, [1.0, 9.0]), class_counts=(1, 2))
    assert plain(logits, labels).shape == ()
    assert plain(logits, labels).requires_grad
    assert [buffer.tolist() for buffer in weighted.buffers()] == [[1.0, 9.0]]


def test_losses_follow_their_blocks() -> None:
    """Each loss is built with the parameters of its own block."""
    blocks = {
        "cross_entropy": {"label_smoothing": 0.25},
        "binary_cross_entropy": {"label_smoothing": 0.5},
        "focal": {"gamma": 1.5},
    }
    logits, labels = torch.tensor([[1.0, -2.0]]), torch.tensor([1])
    expected = {
        "cross_entropy": CrossEntropy(label_smoothing=0.25),
        "binary_cross_entropy": BinaryCrossEntropy(label_smoothing=0.5),
        "focal": FocalLoss(gamma=1.5),
    }
    assert expected.keys() == set(names_of(Loss))
    for name, loss in expected.items():
        built = build_loss(make_section(name, **blocks), class_counts=(1, 1))
        assert torch.equal(built(logits, labels), loss(logits, labels))


def test_no_weights_are_none() -> None:
    """class_weights: null weighs nothing."""
    assert compute_class_weights(make_section(), class_counts=(1, 2)) is None


@pytest.mark.parametrize("counts", [(5, 5), (1, 2, 7), (3,) * 1000])
def test_balanced_weights_are_those_of_scikit_learn(counts: tuple[int, ...]) -> None:
    """Balanced weights are inverse to the class's share of the training images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    found = compute_class_weights(make_section(class_weights="balanced"), class_counts=counts)
    assert found is not None
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_given_weights_are_taken() -> None:
    """A list is taken as it is, in the order of the classes."""
    found = compute_class_weights(make_section(class_weights=[0.5, 3.0]), class_counts=(8, 9))
    assert found is not None
    assert found.tolist() == [0.5, 3.0]


@pytest.mark.parametrize("num", [2, 4])
def test_wrong_number_of_weights_is_refused(num: int) -> None:
    """One weight too few or too many is refused: the key, what was found, what is allowed."""
    message = rf"params\.yaml: loss\.class_weights: found {num} numbers; allowed: null, balanced, or 3, "
    with pytest.raises(InputError, match=message):
        build_loss(make_section(class_weights=[1.0] * num), class_counts=(1, 2, 3))


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_cross_entropy_loss_is_minus_the_log_probability(weights: Tensor | None) -> None:
    """The loss is the mean of -log p, weighted by the true classes' weights."""
    logits, labels = make_batch()
    probabilities = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    each = -probabilities[range(7), labels].log()
    of_image = torch.ones(7, dtype=torch.float64) if weights is None else weights.double()[labels]
    expected = (of_image * each).sum() / of_image.sum()
    criterion = CrossEntropy(label_smoothing=0.0, class_weights=weights).double()
    torch.testing.assert_close(criterion(logits, labels), expected)


def test_cross_entropy_smoothing_spreads_the_target() -> None:
    """With smoothing s, the target is 1 - s on the true class and s / C more on every class."""
    logits, labels = make_batch()
    target = 0.7 * nn.functional.one_hot(labels, 4) + 0.3 / 4
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(CrossEntropy(label_smoothing=0.3)(logits, labels), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_cross_entropy_loss_is_that_of_torch(weights: Tensor | None, smoothing: float) -> None:
    """Smoothing and weights together mean what they mean in torch's CrossEntropyLoss."""
    logits, labels = make_batch()
    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits.float(), labels)
    found = CrossEntropy(label_smoothing=smoothing, class_weights=weights)(logits.float(), labels)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_cross_entropy_soft_targets_are_those_of_torch(weights: Tensor | None, smoothing: float) -> None:
    """Targets that mix classes give the formula: -sum(w * target * log p), over the number of images."""
    logits, labels = make_batch()
    targets = 0.3 * nn.functional.one_hot(labels, 4) + 0.7 * nn.functional.one_hot(labels.flip(0), 4)
    smoothed = (1 - smoothing) * targets + smoothing / 4
    of_class = torch.ones(4, dtype=torch.float64) if weights is None else weights.double()
    expected = -(of_class * smoothed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    criterion = CrossEntropy(label_smoothing=smoothing, class_weights=weights).double()
    torch.testing.assert_close(criterion(logits, targets.double()), expected)
    reference = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)
    found = CrossEntropy(label_smoothing=smoothing, class_weights=weights)(logits.float(), targets.float())
    assert torch.equal(found, reference(logits.float(), targets.float()))


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_cross_entropy_gradient_is_right(weights: Tensor | None) -> None:
    """The gradient agrees with finite differences."""
    logits, labels = make_batch()
    criterion = CrossEntropy(label_smoothing=0.1, class_weights=weights).double()
    assert torch.autograd.gradcheck(criterion, (logits.requires_grad_(), labels))


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_cross_entropy_ignorance_costs_the_log_of_the_number_of_classes(num_classes: int) -> None:
    """Equal logits lose log C, whatever the smoothing."""
    logits, labels = torch.zeros(3, num_classes), torch.tensor([0, 1, num_classes - 1])
    for smoothing in (0.0, 0.5):
        loss = CrossEntropy(label_smoothing=smoothing)(logits, labels)
        torch.testing.assert_close(loss, torch.tensor(float(num_classes)).log())


def test_cross_entropy_large_logits_stay_finite() -> None:
    """A confident prediction costs nothing if correct, and its distance if wrong; neither overflows."""
    criterion = CrossEntropy(label_smoothing=0.0)
    logits = torch.tensor([[1e4, -1e4]])
    assert criterion(logits, torch.tensor([0])) == 0
    assert criterion(logits, torch.tensor([1])) == 2e4


def test_binary_cross_entropy_loss_is_that_of_torch() -> None:
    """Without weights and smoothing the loss is torch's BCEWithLogitsLoss of the one-hot labels."""
    logits, labels = make_batch()
    expected = nn.BCEWithLogitsLoss()(logits, functional.one_hot(labels, 4).double())
    torch.testing.assert_close(BinaryCrossEntropy(label_smoothing=0.0)(logits, labels), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_binary_cross_entropy_loss_is_the_formula(weights: Tensor | None, smoothing: float) -> None:
    """An image's loss is the mean over the classes; images are weighed by their class's weight."""
    logits, labels = make_batch()
    targets = functional.one_hot(labels, 4) * (1 - smoothing) + smoothing / 4
    p = 1 / (1 + (-logits).exp())
    each = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean(dim=1)
    of_image = torch.ones(7, dtype=torch.float64) if weights is None else weights.double()[labels]
    expected = (of_image * each).sum() / of_image.sum()
    criterion = BinaryCrossEntropy(label_smoothing=smoothing, class_weights=weights).double()
    torch.testing.assert_close(criterion(logits, labels), expected)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_binary_cross_entropy_labels_are_the_sharpest_targets(weights: Tensor | None) -> None:
    """One-hot targets cost what labels cost; a mixed target costs as torch says, image by image."""
    logits, labels = make_batch()
    criterion = BinaryCrossEntropy(label_smoothing=0.1, class_weights=weights).double()
    one_hot = functional.one_hot(labels, 4).double()
    torch.testing.assert_close(criterion(logits, one_hot), criterion(logits, labels))
    mixed = 0.3 * one_hot[:1] + 0.7 * one_hot[1:2]
    expected = nn.BCEWithLogitsLoss()(logits[:1], 0.9 * mixed + 0.1 / 4)
    torch.testing.assert_close(criterion(logits[:1], mixed), expected)


def test_binary_cross_entropy_gradient_is_right() -> None:
    """The gradient agrees with finite differences."""
    logits, labels = make_batch()
    criterion = BinaryCrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS[1]).double()
    assert torch.autograd.gradcheck(criterion, (logits.requires_grad_(), labels))


def test_binary_cross_entropy_large_logits_stay_finite() -> None:
    """A confident prediction costs nothing if correct, and its distance if wrong."""
    criterion = BinaryCrossEntropy(label_smoothing=0.0)
    logits = torch.tensor([[1e4, -1e4]])
    assert criterion(logits, torch.tensor([0])) == 0
    assert criterion(logits, torch.tensor([1])) == 1e4


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_focal_loss_is_the_formula(weights: Tensor | None, gamma: float) -> None:
    """The loss is the weighted mean of -(1 - p)^gamma log p."""
    logits, labels = make_batch()
    p = logits.softmax(dim=1)[range(7), labels]
    each = -((1 - p) ** gamma) * p.log()
    of_image = torch.ones(7, dtype=torch.float64) if weights is None else weights.double()[labels]
    expected = (of_image * each).sum() / of_image.sum()
    found = FocalLoss(gamma=gamma, class_weights=weights).double()(logits, labels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_two_classes_are_torchvisions_binary_loss(gamma: float) -> None:
    """For two classes the loss is torchvision's sigmoid focal loss of the difference of the logits."""
    logits, labels = make_batch(2)
    expected = sigmoid_focal_loss(
        logits[:, 1] - logits[:, 0], labels.double(), alpha=-1, gamma=gamma, reduction="mean"
    )
    torch.testing.assert_close(FocalLoss(gamma=gamma)(logits, labels), expected)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_focal_gamma_0_is_cross_entropy(weights: Tensor | None) -> None:
    """Without fading the loss is torch's cross-entropy, weights and all."""
    logits, labels = make_batch()
    expected = functional.cross_entropy(logits.float(), labels, weight=weights)
    found = FocalLoss(gamma=0.0, class_weights=weights)(logits.float(), labels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_focal_gradient_is_right(weights: Tensor | None, gamma: float) -> None:
    """The gradient agrees with finite differences."""
    logits, labels = make_batch()
    criterion = FocalLoss(gamma=gamma, class_weights=weights).double()
    assert torch.autograd.gradcheck(criterion, (logits.requires_grad_(), labels))


def test_focal_easy_examples_fade() -> None:
    """An example predicted with p = 0.9 counts (1 - p)^2 = 1/100 of its cross-entropy at gamma 2."""
    logits = torch.tensor([[9.0, 1.0]], dtype=torch.float64).log()
    labels = torch.tensor([0])
    ratio = FocalLoss(gamma=2.0)(logits, labels) / functional.cross_entropy(logits, labels)
    assert ratio.item() == pytest.approx(0.01)


@pytest.mark.parametrize("gamma", [0.0, 0.001, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("gap", [1e4, 100.0, 20.0, 17.0])
def test_focal_certain_predictions_leave_finite_gradients(gamma: float, gap: float) -> None:
    """Predictions so certain that p rounds to 1, or to 0, give a finite loss and gradient for every gamma."""
    logits = torch.tensor([[gap, 0.0], [0.0, gap]], requires_grad=True)
    loss = FocalLoss(gamma=gamma)(logits, torch.tensor([0, 0]))
    loss.backward()
    assert loss.isfinite()
    assert loss.item() == pytest.approx(gap / 2, rel=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
