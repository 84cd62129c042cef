"""The order in which an epoch goes through the training images."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from stages.vision.draws import derive_seed


class EpochOrder(Sampler[int]):
    """Every image once, in an order that depends on seed and epoch alone.

    Its length is that of a whole epoch; a run that goes on in the middle of one iterates over the rest.
    """

    def __init__(self, num_images: int, *, shuffle: bool, seed: int) -> None:
        self._num_images = num_images
        self._shuffle = shuffle
        self._seed = seed
        self._epoch = 0
        self._start = 0

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Choose the epoch whose order is next, and how many of its images to pass over."""
        self._epoch = epoch
        self._start = start

    def __len__(self) -> int:
        return self._num_images

    def __iter__(self) -> Iterator[int]:
        return iter(self._whole_epoch()[self._start :])

    def _whole_epoch(self) -> list[int] | range:
        if not self._shuffle:
            return range(self._num_images)
        generator = torch.Generator().manual_seed(derive_seed(self._seed, self._epoch))
        order: list[int] = torch.randperm(self._num_images, generator=generator).tolist()
        return order
