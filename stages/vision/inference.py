"""From images to logits and from logits to probabilities, without gradients.

Validation, testing and prediction run the same forward pass, so that an image gets the same logits in each.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from schemas.vision.checkpoint import Calibration
from schemas.vision.runtime import Numerics
from stages.vision.runtime import autocast, send


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
        Logits float32 (total, num_classes) and labels int64 (total,), both on the CPU, in the order of the
        batches.
    """
    network.eval()
    all_logits, all_labels = _Rows(), _Rows()
    for images, labels in batches:
        all_logits.append(compute_batch_logits(network, images, device=device, numerics=numerics))
        all_labels.append(labels)
    # Copied from the device once, at the end: a copy after each batch would wait for the GPU each time.
    return all_logits.joined().cpu(), all_labels.joined()


@torch.inference_mode()
def compute_batch_logits(
    network: nn.Module, images: Tensor, *, device: torch.device, numerics: Numerics
) -> Tensor:
    """Return logits float32 (N, num_classes), on the device, for images (N, C, H, W).

    The network must be in evaluation mode. In a batch of another size the same image may get other last bits:
    the library adds up in another order.
    """
    with autocast(device, numerics):
        logits: Tensor = network(send(images, device, memory_format=torch.channels_last))
    return logits.float()


def compute_probabilities(logits: Tensor, calibration: Calibration) -> Tensor:
    """Return calibrated probabilities float64 (N, num_classes), rows summing to 1, for logits float32.

    Source: temperature scaling, Guo et al. 2017, arXiv:1706.04599.
    """
    return softmax_at(logits, calibration.temperature)


def softmax_at(logits: Tensor, temperature: float) -> Tensor:
    """Return probabilities float64 (N, num_classes) for logits float32 divided by the temperature."""
    return torch.softmax(logits.double() / temperature, dim=1)


class _Rows:
    """A tensor that grows row by row, doubling its memory when it is full.

    A list of small tensors would fragment memory: each lies in the gap that its batch's large activations
    left, which is then too small for those of the next batch. Where the allocator keeps freed memory, that
    took 9 kB per image.
    """

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._num_rows = 0

    def append(self, rows: Tensor) -> None:
        """Add rows (N, ...)."""
        end = self._num_rows + len(rows)
        if self._buffer is None or end > len(self._buffer):
            larger = rows.new_empty((2 * end, *rows.shape[1:]))
            if self._buffer is not None:
                larger[: self._num_rows] = self._buffer[: self._num_rows]
            self._buffer = larger
        self._buffer[self._num_rows : end] = rows
        self._num_rows = end

    def joined(self) -> Tensor:
        """Return all rows (total, ...)."""
        assert self._buffer is not None, "there is at least one batch"
        return self._buffer[: self._num_rows].clone()
