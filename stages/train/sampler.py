"""Which training images an epoch goes through, and in which order."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stages.vision.rng import derive_seed

Sampling = Literal["uniform", "balanced", "one_batch"]


class EpochSampler:
    """As many images as there are, in an order that depends on seed and epoch alone.

    Args:
        labels: Class of each image, int64 (num_images,).
        shuffle: Use another random order in every epoch.
        seed: The run's seed.
        sampling: `uniform`: every image once. `balanced`: every class as often as any other, give or take
            one image; those of a class take turns, so that each comes as often as any other of its class.
            `one_batch`: the first batch of the first epoch, over and over.
        batch_size: Images of a batch, for `one_batch`.
    """

    def __init__(
        self, labels: Tensor, *, shuffle: bool, seed: int, sampling: Sampling = "uniform", batch_size: int = 1
    ) -> None:
        self._labels = labels
        self._shuffle = shuffle
        self._seed = seed
        self._sampling = sampling
        self._batch_size = batch_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose samples are asked for next."""
        self._epoch = epoch
        self._samples: npt.NDArray[np.int64] = self._whole_epoch().numpy()

    def samples_of(self, step: int, *, batch_size: int) -> npt.NDArray[np.int64]:
        """Return the sample numbers int64 (N,) of a step of the epoch that set_epoch chose."""
        return self._samples[step * batch_size : (step + 1) * batch_size]

    def __len__(self) -> int:
        return len(self._labels)

    def _whole_epoch(self) -> Tensor:
        if self._sampling == "one_batch":
            batch = self._permute(epoch=0)[: self._batch_size]
            return batch.repeat(-(-len(self) // len(batch)))[: len(self)]
        permuted = self._permute(epoch=self._epoch)
        return self._balance(permuted) if self._sampling == "balanced" else permuted

    def _permute(self, *, epoch: int) -> Tensor:
        """Return every image once, int64 (num_images,)."""
        if not self._shuffle:
            return torch.arange(len(self))
        generator = torch.Generator().manual_seed(derive_seed(self._seed, epoch))
        return torch.randperm(len(self), generator=generator)

    def _balance(self, permuted: Tensor) -> Tensor:
        """Return an epoch, int64 (num_images,), in rounds of one image from every class.

        Every round has the classes in another order. Each class goes through its own images as permuted, and
        starts over when they are used up.
        """
        of_class = [permuted[self._labels[permuted] == label] for label in torch.unique(self._labels)]
        num_rounds = -(-len(self) // len(of_class))
        turns = torch.stack(
            [images.repeat(-(-num_rounds // len(images)))[:num_rounds] for images in of_class]
        )
        generator = torch.Generator().manual_seed(derive_seed(self._seed, self._epoch, 1))
        places = torch.rand(num_rounds, len(of_class), generator=generator).argsort(dim=1, stable=True)
        return turns.T.gather(1, places).flatten()[: len(self)]
