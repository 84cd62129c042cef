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
        all_logits.append(answer_batch(network, images, device=device, numerics=numerics))
        all_labels.append(labels)
    return torch.cat(all_logits).cpu(), torch.cat(all_labels)


@torch.inference_mode()
def answer_batch(network: nn.Module, images: Tensor, *, device: torch.device, numerics: Numerics) -> Tensor:
    """Return the logits float32 (N, num_classes), on the device, for images (N, C, H, W).

    The network is in evaluation mode already.
    """
    # For a single image torch multiplies a vector where it multiplies matrices otherwise, and the last bits
    # differ. As two it gets the answer that it gets in any batch.
    batch = images if len(images) > 1 else images.expand(2, -1, -1, -1)
    with autocast(device, numerics):
        logits: Tensor = network(batch.to(device, non_blocking=True, memory_format=torch.channels_last))
    return logits.float()[: len(images)]
