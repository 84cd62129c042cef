"""What works on numbers: bytes to floats, normalization, erasing, and mixing of the images of a batch.

It works on the device that the images are on; random numbers come from the CPU, where all of them are drawn.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stages.vision.rng import derive_seed, seed_from_uniform
from stages.vision.runtime import send

_MAX_TRIES = 10


class ToTensor:
    """Convert bytes 0..255 to float32 0..1."""

    num_uniforms = 0

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255)


class Normalize:
    """Subtract the mean and divide by the standard deviation, channel by channel.

    Bytes 0..255 are taken for what ToTensor makes of them, so that one pass over the pixels does both.
    """

    num_uniforms = 0

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean = torch.tensor(mean, dtype=torch.float64)
        self._std = torch.tensor(std, dtype=torch.float64)

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        num, channels, height, width = images.shape
        largest = 1 if images.is_floating_point() else 255
        # Whole rows of channels_last memory at a time, with factors repeated to that length: three times as
        # fast as broadcasting over channels, whose innermost loop would have a length of 1 or 3.
        factor, offset = (
            send(values.float().repeat(width), images.device)
            for values in (1 / (largest * self._std), -self._mean / self._std)
        )
        rows = images.permute(0, 2, 3, 1).reshape(num * height, width * channels)
        normalized = torch.addcmul(offset, rows, factor)
        return normalized.view(num, height, width, channels).permute(0, 3, 1, 2)


class RandomErasing:
    """Overwrite a random rectangle with probability p.

    Source: Zhong et al. 2017, arXiv:1708.04896.
    """

    num_uniforms = 2 * _MAX_TRIES + 4
    """Area and shape of each try, row and column, whether to erase at all, and the seed of the noise."""

    def __init__(
        self,
        *,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | tuple[float, ...] | Literal["random"] = 0.0,
    ) -> None:
        self._p = p
        self._scale, self._ratio = scale, ratio
        self._value = value

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        channels, height, width = images.shape[1:]
        erased = images.clone()
        value = None
        if self._value != "random":
            value = send(torch.tensor(self._value).view(-1, 1, 1).to(images.dtype), images.device)
        windows, found = self.choose_windows(uniforms, height=height, width=width)
        chosen = (found & (uniforms[:, -2] < self._p)).nonzero().squeeze(1)
        for image, (top, left, rows, columns) in zip(chosen.tolist(), windows[chosen].tolist(), strict=True):
            window = erased[image, :, top : top + rows, left : left + columns]
            if value is None:
                generator = torch.Generator().manual_seed(seed_from_uniform(float(uniforms[image, -1])))
                noise = torch.randn(channels, rows, columns, generator=generator)
                window[:] = send(noise, images.device)
            else:
                window[:] = value
        return erased

    def choose_windows(self, uniforms: Tensor, *, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Choose rectangles as torchvision does: the first of ten tries that is smaller than the image.

        Returns:
            Top, left, height and width, int64 (N, 4), and whether any try fitted, bool (N,).
        """
        low, high = math.log(self._ratio[0]), math.log(self._ratio[1])
        areas = height * width * (self._scale[0] + uniforms[:, 0:-4:2] * (self._scale[1] - self._scale[0]))
        ratios = (low + uniforms[:, 1:-4:2] * (high - low)).exp()
        rows, columns = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (rows < height) & (columns < width)
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
        sides = torch.cat([rows.gather(1, first), columns.gather(1, first)], dim=1)
        corners = (uniforms[:, -4:-2] * (torch.tensor([height, width]) - sides + 1)).floor()
        return torch.cat([corners, sides], dim=1).long(), fits.any(dim=1)


class BatchMixer(ABC):
    """One way to mix the images of a batch.

    Args:
        alpha: The weight of the first image is drawn from Beta(alpha, alpha).
        p: Fraction of the batches that are mixed.
    """

    def __init__(self, *, alpha: float = 1.0, p: float = 1.0) -> None:
        self.alpha = alpha
        self.p = p

    @abstractmethod
    def __call__(
        self, images: Tensor, partners: Tensor, *, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        """Return images (N, C, H, W) mixed with their partners, and the weight of the images in [0, 1]."""


class Mixing:
    """Mixers in order, each with its own random numbers, and the mixed labels.

    As in torchvision, a whole batch shares its random numbers. They are a function of seed, epoch, step and
    the mixer's index in the list.
    """

    def __init__(self, mixers: Sequence[BatchMixer], *, num_classes: int, seed: int) -> None:
        self._mixers = tuple(mixers)
        self._num_classes = num_classes
        self._seed = seed

    def __call__(self, images: Tensor, labels: Tensor, *, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return mixed images, and targets float32 (N, num_classes) whose rows sum to 1.

        The partner of an image is another one of the batch, a random number of positions before it. A batch
        of one image stays as it is.

        Args:
            images: float32 (N, C, H, W).
            labels: int64 (N,).
            epoch: Epoch, counted from 0.
            step: Step of the epoch, counted from 0; of batches in parts, the part of the epoch.
        """
        targets = functional.one_hot(labels, self._num_classes).to(images.dtype)
        for index, mixer in enumerate(self._mixers):
            generator = np.random.default_rng(derive_seed(self._seed, epoch, step, index))
            if len(images) == 1 or generator.random() >= mixer.p:
                continue
            shift = int(generator.integers(1, len(images)))
            images, weight = mixer(images, images.roll(shift, 0), generator=generator)
            targets = targets * weight + targets.roll(shift, 0) * (1 - weight)
        return images, targets


class MixUp(BatchMixer):
    """Average images with their partners.

    Source: Zhang et al. 2017, arXiv:1710.09412.
    """

    def __call__(
        self, images: Tensor, partners: Tensor, *, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        weight = generator.beta(self.alpha, self.alpha)
        return partners.lerp(images, weight), weight


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
            _clip(int(generator.integers(side)), half=int(half * side), side=side) for side in (height, width)
        )
        pasted = images.clone()
        pasted[:, :, rows, columns] = partners[:, :, rows, columns]
        # The rectangle is clipped at the border, so the weight follows from the area that was pasted.
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return pasted, 1 - area / (height * width)


def _clip(middle: int, *, half: int, side: int) -> slice:
    return slice(max(0, middle - half), min(side, middle + half))
