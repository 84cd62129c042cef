"""The loss that `loss.name` names, with its class weights.

Every loss is an nn.Module whose forward takes logits (N, C) float32 and labels (N,) int64, and returns a
scalar: a mean over the images. Where transforms mix images, targets (N, C) float32 come in place of labels; a
loss that does not take them is listed in `schemas.train.loss.LABELS_ONLY`.

To add a loss: a block in schemas/train/loss.py, a class here with a line in `_BUILDERS`, and a test.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.train.loss import Loss
from stages.shared.errors import InputError, find_builder


class CrossEntropy(nn.Module):
    """Cross-entropy of the softmax, with label smoothing and class weights.

    The weighted mean of -log p over a batch, p being the true class's probability; smoothing moves a share of
    the target from the true class to all classes evenly. With soft targets, as MixUp and CutMix make them,
    the mean of -sum(w * target * log p), which torch divides by the number of images, not by their weights.
    Source: Szegedy et al. 2015, arXiv:1512.00567 (label smoothing).
    """

    class_weights: Tensor | None

    def __init__(self, *, label_smoothing: float, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss for logits (N, C) float and labels (N,) int64 or targets (N, C) float."""
        return functional.cross_entropy(
            logits, targets, weight=self.class_weights, label_smoothing=self.label_smoothing
        )


class BinaryCrossEntropy(nn.Module):
    """Asks of every class by itself whether the image belongs to it.

    The mean over images and classes of the binary cross-entropy of sigmoid(logit). An image weighs as much as
    its class; one with a soft target as much as its classes together. Smoothing moves a share of the target
    from the true class to all classes evenly.
    Source: Wightman et al. 2021, arXiv:2110.00476, who train ImageNet with it.

    Probabilities are the softmax of logits over the fitted temperature here as after every loss: an image has
    one class, and on the sample that had a lower log loss and calibration error than sigmoids divided by
    their sum, with a temperature of their own.
    """

    class_weights: Tensor | None

    def __init__(self, *, label_smoothing: float, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss for logits (N, C) float and labels (N,) int64 or targets (N, C) float."""
        num_classes = logits.shape[1]
        if targets.ndim == 1:
            targets = functional.one_hot(targets, num_classes).to(logits.dtype)
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / num_classes
        losses = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(dim=1)
        if self.class_weights is None:
            return losses.mean()
        weights = targets @ self.class_weights
        return (weights * losses).sum() / weights.sum()


class FocalLoss(nn.Module):
    """Cross-entropy that fades out easy examples.

    Computes mean(-w * (1 - p)^gamma * log p), p being the true class's probability and w its class's weight;
    the mean is weighted like cross-entropy's, so that gamma = 0 is weighted cross-entropy.
    Source: Lin et al. 2017, arXiv:1708.02002.
    """

    class_weights: Tensor | None

    def __init__(self, *, gamma: float, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss for logits (N, C) float and labels (N,) int64."""
        log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
        # 1 - p by expm1: exact where p is near 1, which is where this loss lives. Never 0: there the slope of
        # a power below 1 is infinite, and the gradient would be NaN.
        one_minus_p = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        losses = -(one_minus_p**self.gamma) * log_p
        if self.class_weights is None:
            return losses.mean()
        weights = self.class_weights[labels]
        return (weights * losses).sum() / weights.sum()


def build_loss(loss: Loss, *, class_counts: Sequence[int]) -> nn.Module:
    """Return the loss that params.yaml names.

    Args:
        loss: The section.
        class_counts: Training images of each class.

    Raises:
        InputError: There are more or fewer class weights than classes.
    """
    build = find_builder(_BUILDERS, loss.name, key="loss.name", module="stages/train/loss.py")
    return build(loss, compute_class_weights(loss, class_counts=class_counts))


def compute_class_weights(loss: Loss, *, class_counts: Sequence[int]) -> Tensor | None:
    """Return the class weights, float32 (num_classes,), or None without any.

    `balanced` is scikit-learn's: num_images / (num_classes * images of the class).

    Raises:
        InputError: There are more or fewer class weights than classes.
    """
    if loss.class_weights is None:
        return None
    if loss.class_weights == "balanced":
        counts = torch.tensor(class_counts, dtype=torch.float64)
        return (counts.sum() / (len(counts) * counts)).float()
    if len(loss.class_weights) != len(class_counts):
        raise InputError(
            f"params.yaml: loss.class_weights: found {len(loss.class_weights)} numbers; "
            f"allowed: null, balanced, or {len(class_counts)}, one for each class of the prepared data"
        )
    return torch.tensor(loss.class_weights, dtype=torch.float32)


_BUILDERS: dict[str, Callable[[Loss, Tensor | None], nn.Module]] = {
    "cross_entropy": lambda loss, weights: CrossEntropy(
        label_smoothing=loss.cross_entropy.label_smoothing, class_weights=weights
    ),
    "binary_cross_entropy": lambda loss, weights: BinaryCrossEntropy(
        label_smoothing=loss.binary_cross_entropy.label_smoothing, class_weights=weights
    ),
    "focal": lambda loss, weights: FocalLoss(gamma=loss.focal.gamma, class_weights=weights),
}
