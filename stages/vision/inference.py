"""Forward passes without gradients: the inner half of validation, testing and prediction."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from schemas.vision.runtime import Numerics
from stages.vision.runtime import autocast


@torch.inference_mode()
def compute_logits(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, device: torch.device, numerics: Numerics
) -> tuple[Tensor, Tensor]:
    """Run the network over all batches.

    Args:
        network: On the device; set to evaluation mode here.
        batches: Images (N, C, H, W) and labels (N,).
        device: Where the network is.
        numerics: Precision of the forward passes.

    Returns:
        Logits float32 (total, num_classes) and labels int64 (total,), both on the processor, in the order of
        the batches.
    """
    network.eval()
    all_logits, all_labels = [], []
    for images, labels in batches:
        with autocast(device, numerics):
            logits = network(images.to(device, non_blocking=True, memory_format=torch.channels_last))
        all_logits.append(logits.float())
        all_labels.append(labels)
    return torch.cat(all_logits).cpu(), torch.cat(all_labels)
