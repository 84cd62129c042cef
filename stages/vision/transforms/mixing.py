"""Mixing the images of a batch, and their labels with them.

One draw serves a whole batch, as in torchvision: it is a function of seed, epoch, step and place in the list.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from stages.vision.draws import derive_seed


class BatchMixer(ABC):
    """One way to mix the images of a batch.

    Args:
        alpha: Shares are drawn by Beta(alpha, alpha).
        p: Share of the batches that are mixed.
    """

    def __init__(self, *, alpha: float = 1.0, p: float = 1.0) -> None:
        self.alpha = alpha
        self.p = p

    @abstractmethod
    def __call__(
        self, images: Tensor, partners: Tensor, *, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        """Return images (N, C, H, W) mixed with their partners, and the share of their own."""


class Mixing:
    """Mixers in order, each with random numbers of its own."""

    def __init__(self, mixers: Sequence[BatchMixer], *, num_classes: int, seed: int) -> None:
        self._mixers = tuple(mixers)
        self._num_classes = num_classes
        self._seed = seed

    def __call__(self, images: Tensor, labels: Tensor, *, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return images mixed, and the share of every class in each: targets float32 (N, num_classes).

        The partner of an image is another one of the batch, as many places before it as are drawn for the
        step. A batch of one image stays as it is.

        Args:
            images: float32 (N, C, H, W).
            labels: int64 (N,).
            epoch: Epoch, counted from 0.
            step: Step of the epoch, counted from 0.
        """
        targets = functional.one_hot(labels, self._num_classes).to(images.dtype)
        for place, mixer in enumerate(self._mixers):
            generator = np.random.default_rng(derive_seed(self._seed, epoch, step, place))
            if len(images) == 1 or generator.random() >= mixer.p:
                continue
            shift = int(generator.integers(1, len(images)))
            images, share = mixer(images, images.roll(shift, 0), generator=generator)
            targets = targets * share + targets.roll(shift, 0) * (1 - share)
        return images, targets


class MixUp(BatchMixer):
    """Average images with their partners.

    Source: Zhang et al. 2017, arXiv:1710.09412.
    """

    def __call__(
        self, images: Tensor, partners: Tensor, *, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        share = generator.beta(self.alpha, self.alpha)
        return partners.lerp(images, share), share


class CutMix(BatchMixer):
    """Paste a rectangle of the partners into images.

    Source: Yun et al. 2019, arXiv:1905.04899.
    """

    def __call__(
        self, images: Tensor, partners: Tensor, *, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        height, width = images.shape[2:]
        half = 0.5 * math.sqrt(1 - generator.beta(self.alpha, self.alpha))
        rows, columns = (
            _cut(int(generator.integers(side)), half=int(half * side), side=side) for side in (height, width)
        )
        pasted = images.clone()
        pasted[:, :, rows, columns] = partners[:, :, rows, columns]
        # What lies beyond the border was not pasted, and does not count.
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return pasted, 1 - area / (height * width)


def _cut(middle: int, *, half: int, side: int) -> slice:
    return slice(max(0, middle - half), min(side, middle + half))
