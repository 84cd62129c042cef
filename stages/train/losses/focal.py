"""Focal loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.train.loss import Focal as FocalParams


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
        # a power below 1 is infinite, and the gradient would be no number.
        one_minus_p = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        losses = -(one_minus_p**self.gamma) * log_p
        if self.class_weights is None:
            return losses.mean()
        weights = self.class_weights[labels]
        return (weights * losses).sum() / weights.sum()


def build(arguments: FocalParams, *, class_weights: Tensor | None) -> FocalLoss:
    """Return the loss with these parameters."""
    return FocalLoss(gamma=arguments.gamma, class_weights=class_weights)
