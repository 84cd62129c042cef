"""The order in which an epoch goes through the training images."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from stages.vision.draws import derive_seed


class EpochOrder(Sampler[int]):
    """Every image once, in an order that depends on seed and epoch alone."""

    def __init__(self, num_images: int, *, shuffle: bool, seed: int) -> None:
        self._num_images = num_images
        self._shuffle = shuffle
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_images

    def __iter__(self) -> Iterator[int]:
        if not self._shuffle:
            return iter(range(self._num_images))
        generator = torch.Generator().manual_seed(derive_seed(self._seed, self._epoch))
        return iter(torch.randperm(self._num_images, generator=generator).tolist())
