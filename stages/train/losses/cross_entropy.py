"""Cross-entropy."""

from torch import Tensor, nn
from torch.nn import functional

from schemas.train.loss import CrossEntropy as CrossEntropyParams


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


def build(arguments: CrossEntropyParams, *, class_weights: Tensor | None) -> CrossEntropy:
    """Return the loss with these parameters."""
    return CrossEntropy(label_smoothing=arguments.label_smoothing, class_weights=class_weights)
