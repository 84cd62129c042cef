"""Cross-entropy with label smoothing and class weights."""

import pytest
import torch
from torch import Tensor, nn

from schemas.train.loss import CrossEntropy as CrossEntropyParams
from stages.train.losses.cross_entropy import CrossEntropy, build

WEIGHTS = [None, torch.tensor([0.5, 2.0, 1.0, 4.0])]


def draw_batch(num_classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return logits (7, C) float64 and labels (7,)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, num_classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(num_classes, (7,), generator=generator)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_loss_is_minus_the_log_probability(weights: Tensor | None) -> None:
    """The loss is the mean of -log p, weighted by the true classes' weights."""
    logits, labels = draw_batch()
    probabilities = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    each = -probabilities[range(7), labels].log()
    of_image = torch.ones(7, dtype=torch.float64) if weights is None else weights.double()[labels]
    expected = (of_image * each).sum() / of_image.sum()
    criterion = CrossEntropy(label_smoothing=0.0, class_weights=weights).double()
    torch.testing.assert_close(criterion(logits, labels), expected)


def test_smoothing_spreads_the_target() -> None:
    """With smoothing s, the target is 1 - s on the true class and s / C more on every class."""
    logits, labels = draw_batch()
    target = 0.7 * nn.functional.one_hot(labels, 4) + 0.3 / 4
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(CrossEntropy(label_smoothing=0.3)(logits, labels), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_loss_is_that_of_torch(weights: Tensor | None, smoothing: float) -> None:
    """Smoothing and weights together mean what they mean in torch's CrossEntropyLoss."""
    logits, labels = draw_batch()
    expected = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits.float(), labels)
    found = CrossEntropy(label_smoothing=smoothing, class_weights=weights)(logits.float(), labels)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["plain", "weighted"])
def test_soft_targets_are_those_of_torch(weights: Tensor | None, smoothing: float) -> None:
    """Targets that mix classes give the formula: -sum(w * target * log p), over the number of images."""
    logits, labels = draw_batch()
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
def test_gradient_is_right(weights: Tensor | None) -> None:
    """The gradient agrees with finite differences."""
    logits, labels = draw_batch()
    criterion = CrossEntropy(label_smoothing=0.1, class_weights=weights).double()
    assert torch.autograd.gradcheck(criterion, (logits.requires_grad_(), labels))


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_ignorance_costs_the_log_of_the_number_of_classes(num_classes: int) -> None:
    """Equal logits lose log C, whatever the smoothing."""
    logits, labels = torch.zeros(3, num_classes), torch.tensor([0, 1, num_classes - 1])
    for smoothing in (0.0, 0.5):
        loss = CrossEntropy(label_smoothing=smoothing)(logits, labels)
        torch.testing.assert_close(loss, torch.tensor(float(num_classes)).log())


def test_large_logits_stay_finite() -> None:
    """A confident answer costs nothing if right, and its distance if wrong; neither overflows."""
    criterion = CrossEntropy(label_smoothing=0.0)
    logits = torch.tensor([[1e4, -1e4]])
    assert criterion(logits, torch.tensor([0])) == 0
    assert criterion(logits, torch.tensor([1])) == 2e4


def test_weights_move_with_the_loss() -> None:
    """Class weights are a buffer, so that `.to(device)` takes them along; they are not trained."""
    criterion = CrossEntropy(label_smoothing=0.0, class_weights=torch.ones(2))
    assert dict(criterion.named_buffers()).keys() == {"class_weights"}
    assert not list(criterion.parameters())


def test_build_follows_the_parameters() -> None:
    """Label smoothing comes from the section, weights from the caller."""
    weights = torch.tensor([1.0, 2.0])
    built = build(CrossEntropyParams(label_smoothing=0.25), class_weights=weights)
    assert built.label_smoothing == 0.25
    assert built.class_weights is weights
