"""Transforms on whole batches, under torchvision's names and with its meaning.

Images are tensors (N, C, H, W) in channels_last memory: uint8 up to ToTensor, float32 after it. A random
transform is a pure function of the images and of numbers in [0, 1) drawn for each of them, so that the same
sample in the same epoch is always changed the same way.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision.draws import draw_uniform


class BatchTransform(Protocol):
    """One step on a batch."""

    num_draws: int
    """Random numbers each image needs; 0 for a transform that is not random."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return images (N, C, H, W) changed; draws is float64 (N, num_draws) in [0, 1)."""
        ...


class Compose:
    """Transforms in order, each with random numbers of its own."""

    def __init__(self, transforms: Sequence[BatchTransform], *, seed: int = 0) -> None:
        self._transforms = tuple(transforms)
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
        for place, transform in enumerate(self._transforms):
            draws = torch.empty(len(images), 0, dtype=torch.float64)
            if transform.num_draws:
                assert samples is not None, "a random transform draws by sample"
                draws = torch.from_numpy(
                    draw_uniform(self._seed, epoch, place, samples=samples, num_draws=transform.num_draws)
                )
            images = transform(images, draws)
        return images


class RandomCrop:
    """Pad with black and cut out a window of the old size at a random place."""

    num_draws = 2

    def __init__(self, *, padding: int) -> None:
        self._padding = padding

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        # Slices that leave the padding out: six times as fast as padding and gathering.
        source = images.permute(0, 2, 3, 1).numpy()
        target = np.zeros_like(source)
        height, width = source.shape[1:3]
        shifts = (draws * (2 * self._padding + 1)).long() - self._padding
        for image, (down, right) in enumerate(shifts.tolist()):
            to_rows, from_rows = _overlap(down, height)
            to_columns, from_columns = _overlap(right, width)
            target[image, to_rows, to_columns] = source[image, from_rows, from_columns]
        return torch.from_numpy(target).permute(0, 3, 1, 2)


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Return which part of a window shifted against an image it fills, and with which part of the image."""
    inside = max(0, length - abs(shift))
    to_start, from_start = max(0, -shift), max(0, shift)
    return slice(to_start, to_start + inside), slice(from_start, from_start + inside)


class RandomHorizontalFlip:
    """Mirror left and right with probability p."""

    num_draws = 1

    def __init__(self, *, p: float) -> None:
        self._p = p

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return torch.where((draws < self._p)[:, :, None, None], images.flip(3), images)


class RandomVerticalFlip:
    """Mirror top and bottom with probability p."""

    num_draws = 1

    def __init__(self, *, p: float) -> None:
        self._p = p

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return torch.where((draws < self._p)[:, :, None, None], images.flip(2), images)


class RandomRotation:
    """Turn counter-clockwise around the centre by an angle from [-degrees, degrees]; nearest pixel."""

    num_draws = 1

    def __init__(self, *, degrees: float) -> None:
        self._degrees = degrees

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[2:]
        angles = (2 * draws[:, 0] - 1) * math.radians(self._degrees)
        # Coordinates in pixels from the centre, and where in the old image each new pixel comes from; rounded
        # where torchvision rounds, for half-way between two pixels the last bit decides.
        rows = torch.arange(height, dtype=torch.float32)[:, None] - (height - 1) / 2
        columns = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
        cosines, sines = angles.cos().float()[:, None, None], angles.sin().float()[:, None, None]
        from_columns = cosines / (width / 2) * columns - sines / (width / 2) * rows
        from_rows = sines / (height / 2) * columns + cosines / (height / 2) * rows
        grid = torch.stack((from_columns, from_rows), dim=-1)
        turned = functional.grid_sample(images.float(), grid, mode="nearest", align_corners=False)
        return turned.to(torch.uint8).contiguous(memory_format=torch.channels_last)


class ToTensor:
    """Turn bytes 0..255 into floats 0..1."""

    num_draws = 0

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return images.to(torch.float32).div_(255)


class Normalize:
    """Subtract the mean and divide by the standard deviation, channel by channel."""

    num_draws = 0

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return (images - self._mean).div_(self._std)


def build_transforms(transforms: schema.Transforms, *, seed: int = 0) -> Compose:
    """Return the transforms of a list whose mean and std are numbers."""
    return Compose([_build_transform(transform) for transform in transforms], seed=seed)


def _build_transform(transform: schema.AnyTransform) -> BatchTransform:
    arguments = {name: getattr(transform, name) for name in type(transform).model_fields if name != "name"}
    built: BatchTransform = globals()[transform.name](**arguments)
    return built


def fill_in_statistics(
    transforms: schema.Transforms, *, mean: Sequence[float], std: Sequence[float]
) -> schema.Transforms:
    """Return the list with `dataset` replaced by what was measured on the training split.

    Raises:
        InputError: A channel of the training images is the same everywhere, so it cannot be divided by its
            standard deviation.
    """
    filled: list[schema.AnyTransform] = []
    for transform in transforms:
        if isinstance(transform, schema.Normalize):
            chosen_mean = tuple(mean) if transform.mean == "dataset" else transform.mean
            chosen_std = tuple(std) if transform.std == "dataset" else transform.std
            if 0.0 in chosen_std:
                raise InputError(
                    "params.yaml: transforms: Normalize.std: found dataset, but the training images are one "
                    f"flat colour in channel {chosen_std.index(0.0)} (standard deviation 0); check "
                    "dataset.source, or give numbers"
                )
            filled.append(schema.Normalize(name="Normalize", mean=chosen_mean, std=chosen_std))
        else:
            filled.append(transform)
    return tuple(filled)


def without_random(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that also apply when the network is validated, tested or used."""
    return tuple(transform for transform in transforms if not transform.random)
