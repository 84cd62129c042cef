"""Blurring."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from stages.vision.transforms.compose import stretch


class GaussianBlur:
    """Blur with a Gaussian of random width; the image is mirrored at its border."""

    num_draws = 1

    def __init__(
        self, *, kernel_size: int | tuple[int, int], sigma: float | tuple[float, float] = (0.1, 2.0)
    ) -> None:
        self._across, self._down = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
        self._sigma = sigma if isinstance(sigma, tuple) else (sigma, sigma)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        sigmas = stretch(draws[:, 0], self._sigma)
        blurred = images.float()
        # First across, then down; sums of shifted images are the same in any batch, unlike a convolution.
        for length, dim, sides in (
            (self._across, 3, (self._across // 2, self._across // 2, 0, 0)),
            (self._down, 2, (0, 0, self._down // 2, self._down // 2)),
        ):
            weights = compute_gaussian(sigmas, length=length)
            padded = functional.pad(blurred, sides, mode="reflect")
            side = blurred.shape[dim]
            blurred = torch.zeros_like(blurred)
            for place in range(length):
                blurred.addcmul_(padded.narrow(dim, place, side), weights[:, place, None, None, None])
        if images.dtype == torch.uint8:
            return blurred.round().clamp(0, 255).to(torch.uint8)
        return blurred


def compute_gaussian(sigmas: Tensor, *, length: int) -> Tensor:
    """Return float32 (N, length): weights that add up to 1, as torchvision spaces them."""
    limit = (length - 1) / (2 * math.sqrt(2))
    places = torch.linspace(-limit, limit, length, dtype=torch.float64)
    return torch.softmax(-((places / sigmas[:, None]) ** 2), dim=1).float()
