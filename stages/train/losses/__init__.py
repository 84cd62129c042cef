"""Losses, one module each, found by the name in `loss.name`."""

from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn

from schemas.train.loss import Loss
from stages.shared.errors import InputError


def build_loss(loss: Loss, *, class_counts: Sequence[int]) -> nn.Module:
    """Return the loss that params.yaml names.

    The module `stages.train.losses.<name>` must hold `build(arguments, *, class_weights)`, where arguments is
    the block `loss.<name>` and class_weights is a float tensor (num_classes,) or None. The loss takes logits
    (N, C) float32 and labels (N,) int64, and is a mean over the images. Where transforms mix images, targets
    (N, C) float32 come instead of labels; focal is the one loss that does not take them.

    Args:
        loss: The section.
        class_counts: Training images of each class.

    Raises:
        InputError: There is not one weight a class.
    """
    module = import_module(f"{__name__}.{loss.name}")
    weights = weigh_classes(loss, class_counts=class_counts)
    built = module.build(getattr(loss, loss.name), class_weights=weights)
    assert isinstance(built, nn.Module)
    return built


def weigh_classes(loss: Loss, *, class_counts: Sequence[int]) -> Tensor | None:
    """Return one weight a class, or None for no weights.

    `balanced` is scikit-learn's: num_images / (num_classes * images of the class).
    """
    if loss.class_weights == "none":
        return None
    if loss.class_weights == "balanced":
        counts = torch.tensor(class_counts, dtype=torch.float64)
        return (counts.sum() / (len(counts) * counts)).float()
    if len(loss.class_weights) != len(class_counts):
        raise InputError(
            f"params.yaml: loss.class_weights: found {len(loss.class_weights)} numbers; "
            f"allowed: none, balanced, or {len(class_counts)}, one for each class of the prepared data"
        )
    return torch.tensor(loss.class_weights, dtype=torch.float32)
