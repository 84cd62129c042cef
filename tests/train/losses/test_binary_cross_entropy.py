"""Binary cross-entropy of every class against the rest."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.train.loss import BinaryCrossEntropy as BinaryCrossEntropyParams
from stages.train.losses.binary_cross_entropy import BinaryCrossEntropy, build

WEIGHTS = [None, torch.tensor([0.5, 2.0, 1.0, 4.0])]


def draw_batch() -> tuple[Tensor, Tensor]:
    """Return logits (7, 4) float64 and labels (7,)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 4, dtype=torch.float64, generator=generator)
    return logits, torch.randint(4, (7,), generator=generator)


def test_loss_is_that_of_torch() -> None:
    """Without weights and smoothing the loss is torch's BCEWithLogitsLoss of the one-hot labels."""
    logits, labels = draw_batch()
    expected = nn.BCEWithLogitsLoss()(logits, functional.one_hot(labels, 4).double())
    torch.testing.assert_close(BinaryCrossEntropy(label_smoothing=0.0)(logits, labels), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_loss_is_the_formula(weights: Tensor | None, smoothing: float) -> None:
    """An image's loss is the mean over the classes; images are weighed by their class's weight."""
    logits, labels = draw_batch()
    targets = functional.one_hot(labels, 4) * (1 - smoothing) + smoothing / 4
    p = 1 / (1 + (-logits).exp())
    each = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean(dim=1)
    of_image = torch.ones(7, dtype=torch.float64) if weights is None else weights.double()[labels]
    expected = (of_image * each).sum() / of_image.sum()
    criterion = BinaryCrossEntropy(label_smoothing=smoothing, class_weights=weights).double()
    torch.testing.assert_close(criterion(logits, labels), expected)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_labels_are_the_sharpest_targets(weights: Tensor | None) -> None:
    """One-hot targets cost what labels cost; a mixed target costs as torch says, image by image."""
    logits, labels = draw_batch()
    criterion = BinaryCrossEntropy(label_smoothing=0.1, class_weights=weights).double()
    one_hot = functional.one_hot(labels, 4).double()
    torch.testing.assert_close(criterion(logits, one_hot), criterion(logits, labels))
    mixed = 0.3 * one_hot[:1] + 0.7 * one_hot[1:2]
    expected = nn.BCEWithLogitsLoss()(logits[:1], 0.9 * mixed + 0.1 / 4)
    torch.testing.assert_close(criterion(logits[:1], mixed), expected)


def test_gradient_is_right() -> None:
    """The gradient agrees with finite differences."""
    logits, labels = draw_batch()
    criterion = BinaryCrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS[1]).double()
    assert torch.autograd.gradcheck(criterion, (logits.requires_grad_(), labels))


def test_large_logits_stay_finite() -> None:
    """A confident answer costs nothing if right, and its distance if wrong."""
    criterion = BinaryCrossEntropy(label_smoothing=0.0)
    logits = torch.tensor([[1e4, -1e4]])
    assert criterion(logits, torch.tensor([0])) == 0
    assert criterion(logits, torch.tensor([1])) == 1e4


def test_build_follows_the_parameters() -> None:
    """Label smoothing comes from the section, weights from the caller, and move along with the loss."""
    weights = torch.tensor([1.0, 2.0])
    built = build(BinaryCrossEntropyParams(label_smoothing=0.25), class_weights=weights)
    assert built.label_smoothing == 0.25
    assert dict(built.named_buffers())["class_weights"] is weights
