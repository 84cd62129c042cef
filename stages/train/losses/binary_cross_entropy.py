"""Binary cross-entropy, one class against the rest."""

from torch import Tensor, nn
from torch.nn import functional

from schemas.train.loss import BinaryCrossEntropy as BinaryCrossEntropyParams


class BinaryCrossEntropy(nn.Module):
    """Asks of every class by itself whether the image is of it.

    The mean over images and classes of the binary cross-entropy of sigmoid(logit); an image counts as much as
    the class it is of weighs, one with a soft target as much as its classes weigh together. Smoothing moves a
    share of the target from the true class to all classes evenly.
    Source: Wightman et al. 2021, arXiv:2110.00476, who train ImageNet with it.

    Probabilities are the softmax of logits over the fitted temperature here as after every loss: an image has
    one class, and measured on the sample that has a lower log loss and calibration error than sigmoids that
    are divided by their sum, with a temperature of their own.
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


def build(arguments: BinaryCrossEntropyParams, *, class_weights: Tensor | None) -> BinaryCrossEntropy:
    """Return the loss with these parameters."""
    return BinaryCrossEntropy(label_smoothing=arguments.label_smoothing, class_weights=class_weights)
