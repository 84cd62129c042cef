"""Focal loss."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from schemas.train.loss import Focal as FocalParams
from stages.train.losses.focal import FocalLoss, build

WEIGHTS = [None, torch.tensor([0.5, 2.0, 1.0, 4.0])]
GAMMAS = [0.0, 0.3, 1.0, 2.0, 5.0]


def draw_batch(num_classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return logits (7, C) float64 and labels (7,)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, num_classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(num_classes, (7,), generator=generator)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_loss_is_the_formula(weights: Tensor | None, gamma: float) -> None:
    """The loss is the weighted mean of -(1 - p)^gamma log p."""
    logits, labels = draw_batch()
    p = logits.softmax(dim=1)[range(7), labels]
    each = -((1 - p) ** gamma) * p.log()
    of_image = torch.ones(7, dtype=torch.float64) if weights is None else weights.double()[labels]
    expected = (of_image * each).sum() / of_image.sum()
    found = FocalLoss(gamma=gamma, class_weights=weights).double()(logits, labels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_two_classes_are_torchvisions_binary_loss(gamma: float) -> None:
    """For two classes the loss is torchvision's sigmoid focal loss of the difference of the logits."""
    logits, labels = draw_batch(2)
    expected = sigmoid_focal_loss(
        logits[:, 1] - logits[:, 0], labels.double(), alpha=-1, gamma=gamma, reduction="mean"
    )
    torch.testing.assert_close(FocalLoss(gamma=gamma)(logits, labels), expected)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_gamma_0_is_cross_entropy(weights: Tensor | None) -> None:
    """Without fading the loss is torch's cross-entropy, weights and all."""
    logits, labels = draw_batch()
    expected = functional.cross_entropy(logits.float(), labels, weight=weights)
    found = FocalLoss(gamma=0.0, class_weights=weights)(logits.float(), labels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_gradient_is_right(weights: Tensor | None, gamma: float) -> None:
    """The gradient agrees with finite differences."""
    logits, labels = draw_batch()
    criterion = FocalLoss(gamma=gamma, class_weights=weights).double()
    assert torch.autograd.gradcheck(criterion, (logits.requires_grad_(), labels))


def test_easy_examples_fade() -> None:
    """An example answered with p = 0.9 counts (1 - p)^2 = 1/100 of its cross-entropy at gamma 2."""
    logits = torch.tensor([[9.0, 1.0]], dtype=torch.float64).log()
    labels = torch.tensor([0])
    ratio = FocalLoss(gamma=2.0)(logits, labels) / functional.cross_entropy(logits, labels)
    assert ratio.item() == pytest.approx(0.01)


@pytest.mark.parametrize("gamma", [0.0, 0.001, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("gap", [1e4, 100.0, 20.0, 17.0])
def test_certain_answers_leave_finite_gradients(gamma: float, gap: float) -> None:
    """Answers so certain that p rounds to 1, or to 0, give a finite loss and gradient for every gamma."""
    logits = torch.tensor([[gap, 0.0], [0.0, gap]], requires_grad=True)
    loss = FocalLoss(gamma=gamma)(logits, torch.tensor([0, 0]))
    loss.backward()
    assert loss.isfinite()
    assert loss.item() == pytest.approx(gap / 2, rel=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_build_follows_the_parameters() -> None:
    """Gamma comes from the section, weights from the caller, and move along with the loss."""
    weights = torch.tensor([1.0, 2.0])
    built = build(FocalParams(gamma=1.5), class_weights=weights)
    assert built.gamma == 1.5
    assert dict(built.named_buffers())["class_weights"] is weights
