"""What a transform of whole batches is, and several of them in order."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stages.vision.draws import draw_uniform


class BatchTransform(Protocol):
    """One step on a batch."""

    num_draws: int
    """Random numbers each image needs; 0 for a transform that is not random. With a true `is_alternating`
    they are those of the first epoch in all even epochs, and 1 less them in the odd ones."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return images (N, C, H, W) changed; draws is float64 (N, num_draws) in [0, 1)."""
        ...


class Compose:
    """Transforms in order, each with random numbers of its own."""

    def __init__(self, transforms: Sequence[BatchTransform], *, seed: int = 0) -> None:
        self.transforms = tuple(transforms)
        self._seed = seed

    def __call__(
        self, images: Tensor, *, samples: npt.NDArray[np.int64] | None = None, epoch: int = 0
    ) -> Tensor:
        """Return the images as the network takes them.

        Args:
            images: uint8 (N, C, H, W).
            samples: int64 (N,), the number of each image in its split; needed if a transform is random.
            epoch: Epoch the random numbers are for.

        Returns:
            float32 (N, C, H, W), channels_last.
        """
        for place, transform in enumerate(self.transforms):
            draws = torch.empty(len(images), 0, dtype=torch.float64)
            if transform.num_draws:
                assert samples is not None, "a random transform draws by sample"
                draws = self._draw(transform, place, samples=samples, epoch=epoch)
            images = transform(images, draws)
        return images.contiguous(memory_format=torch.channels_last)

    def _draw(
        self, transform: BatchTransform, place: int, *, samples: npt.NDArray[np.int64], epoch: int
    ) -> Tensor:
        """Return new numbers for each epoch, or those of the first and their opposites in turn."""
        is_alternating = getattr(transform, "is_alternating", False)
        draws = torch.from_numpy(
            draw_uniform(
                self._seed,
                0 if is_alternating else epoch,
                place,
                samples=samples,
                num_draws=transform.num_draws,
            )
        )
        return 1 - draws if is_alternating and epoch % 2 else draws


def seed_from(draw: float) -> int:
    """Return a seed for a generator of one image's own, from a number in [0, 1)."""
    return int(draw * 2**53)


def stretch(draws: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return draws in [0, 1) as numbers between two limits."""
    return limits[0] + draws * (limits[1] - limits[0])


def around(value: float | tuple[float, float], *, center: float = 0.0) -> tuple[float, float]:
    """Return the limits that an argument stands for: center - value to center + value, or the two given."""
    return value if isinstance(value, tuple) else (center - value, center + value)
