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
    all_logits, all_labels = _Rows(), _Rows()
    for images, labels in batches:
        all_logits.append(answer_batch(network, images, device=device, numerics=numerics))
        all_labels.append(labels)
    return all_logits.joined().cpu(), all_labels.joined()


class _Rows:
    """Rows of tensors, copied to where there is room for as many again.

    In a list each piece would lie in the room that its batch's large blocks left behind, which is then too
    small for the next batch's by just that piece. Where freed memory is kept, that took 9 kB an image.
    """

    def __init__(self) -> None:
        self._room: Tensor | None = None
        self._num_rows = 0

    def append(self, rows: Tensor) -> None:
        """Add rows (N, ...)."""
        end = self._num_rows + len(rows)
        if self._room is None or end > len(self._room):
            larger = rows.new_empty((2 * end, *rows.shape[1:]))
            if self._room is not None:
                larger[: self._num_rows] = self._room[: self._num_rows]
            self._room = larger
        self._room[self._num_rows : end] = rows
        self._num_rows = end

    def joined(self) -> Tensor:
        """Return all rows."""
        assert self._room is not None, "there is a batch"
        return self._room[: self._num_rows].clone()


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
