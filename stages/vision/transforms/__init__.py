"""Transforms of whole batches, under torchvision's names and with its meaning.

Images are tensors (N, C, H, W) in channels_last memory: uint8 up to ToTensor, float32 after it. A random
transform is a pure function of the images and of uniform random numbers for each of them, so the same sample
in the same epoch is always transformed the same way.

A transform is found by its name: the module in this folder named like the module of its schema holds a class
of the same name, whose arguments are the schema's fields.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision.rng import draw_uniform
from stages.vision.transforms.numbers import Mixing

__all__ = [
    "BatchTransform",
    "Compose",
    "Mixing",
    "Statistics",
    "build_mixing",
    "build_transforms",
    "fill_in_statistics",
    "for_training",
    "only_form",
    "without_random",
]


class BatchTransform(Protocol):
    """One transform of a batch.

    A class may set `is_alternating = True`: its random numbers u are then those of epoch 0 in all even
    epochs, and 1 - u in the odd ones.
    """

    num_uniforms: int
    """Random numbers per image; 0 for a transform that is not random."""

    def __call__(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Return transformed images (N, C, H, W); uniforms is float64 (N, num_uniforms) in [0, 1)."""
        ...


class Compose:
    """Transforms in order, each with its own random numbers.

    Each transform handles the whole batch before the next one starts. At 32 px a call of torch costs more
    than its arithmetic, so one call per batch, not per image, is where the speed comes from. Steps are not
    fused beyond that: the order and rounding of torchvision's separate steps stay, and so do its pixels.
    """

    def __init__(self, transforms: Sequence[BatchTransform], *, seed: int = 0) -> None:
        self.transforms = tuple(transforms)
        self._seed = seed

    def __call__(
        self, images: Tensor, *, samples: npt.NDArray[np.int64] | None = None, epoch: int = 0
    ) -> Tensor:
        """Return the images as the network takes them.

        Args:
            images: uint8 (N, C, H, W).
            samples: int64 (N,), the index of each image in its split; needed if a transform is random.
            epoch: Epoch, counted from 0, that the random numbers are for.

        Returns:
            float32 (N, C, H', W'), channels_last, where ToTensor is in the list.
        """
        for index, transform in enumerate(self.transforms):
            uniforms = torch.empty(len(images), 0, dtype=torch.float64)
            if transform.num_uniforms:
                assert samples is not None, "a random transform needs to know its samples"
                uniforms = self._draw(transform, index, samples=samples, epoch=epoch)
            transformed = transform(images, uniforms)
            _check_transformed(transformed, images, name=type(transform).__name__)
            images = transformed
        return images.contiguous(memory_format=torch.channels_last)

    def _draw(
        self, transform: BatchTransform, index: int, *, samples: npt.NDArray[np.int64], epoch: int
    ) -> Tensor:
        """Return random numbers float64 (N, num_uniforms), a function of (seed, epoch, index, sample)."""
        is_alternating = getattr(transform, "is_alternating", False)
        uniforms = torch.from_numpy(
            draw_uniform(
                self._seed,
                0 if is_alternating else epoch,
                index,
                samples=samples,
                num_values=transform.num_uniforms,
            )
        )
        return 1 - uniforms if is_alternating and epoch % 2 else uniforms


def _check_transformed(transformed: Tensor, images: Tensor, *, name: str) -> None:
    """Check that images are uint8 up to ToTensor and float32 after it: a network would stop far from here.

    Raises:
        InputError: A transform made something else of them, such as float64 by multiplying with its uniforms.
    """
    fits = transformed.dtype == images.dtype or (images.dtype, transformed.dtype) == (
        torch.uint8,
        torch.float32,
    )
    if not fits or transformed.ndim != 4 or len(transformed) != len(images):
        raise InputError(
            f"transforms: {name}: made {transformed.dtype} {tuple(transformed.shape)} of {images.dtype} "
            f"{tuple(images.shape)}; allowed: as many images, (N, C, H, W), of the same type; "
            "convert by .to(images.dtype)"
        )


def build_transforms(transforms: schema.Transforms, *, seed: int = 0) -> Compose:
    """Return the transforms of single images in a list whose mean and std are numbers.

    Raises:
        InputError: torchvision refuses the arguments of one of its own transforms.
    """
    single = [transform for transform in transforms if transform.position != "last"]
    return Compose([_build_transform(transform) for transform in single], seed=seed)


def build_mixing(transforms: schema.Transforms, *, num_classes: int, seed: int) -> Mixing | None:
    """Return what mixes the images of a batch at the end of the list, or None if nothing does."""
    mixers = [transform for transform in transforms if transform.position == "last"]
    if not mixers:
        return None
    return Mixing([_build_transform(transform) for transform in mixers], num_classes=num_classes, seed=seed)


def _build_transform(transform: schema.Transform):  # type: ignore[no-untyped-def]
    """Return the BatchTransform or BatchMixer that a schema describes."""
    arguments = {name: getattr(transform, name) for name in type(transform).model_fields if name != "name"}
    arguments.pop("in_training", None)
    name = f"{__name__}.{type(transform).__module__.rpartition('.')[2]}"
    try:
        build = getattr(import_module(name), transform.name)
    except (ModuleNotFoundError, AttributeError) as error:
        if error.name not in (name, transform.name):
            raise
        raise InputError(
            f"transforms: {transform.name}: has a schema, and {name.replace('.', '/')}.py holds no class of "
            "that name yet; write it"
        ) from None
    return build(**arguments)


class Statistics(NamedTuple):
    """Of pixels in 0..1, one number per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def fill_in_statistics(
    transforms: schema.Transforms, *, dataset: Statistics, weights: Callable[[], Statistics]
) -> schema.Transforms:
    """Return the list with `dataset` and `weights` replaced by numbers, one per channel.

    Args:
        transforms: Those of params.yaml.
        dataset: Of the training split.
        weights: Returns those that the network's pretrained weights expect; called only where they are asked
            for.

    Raises:
        InputError: A channel of the training images has a standard deviation of 0.
    """
    filled: list[schema.Transform] = []
    for transform in transforms:
        if isinstance(transform, schema.Normalize):
            mean, std = transform.mean, transform.std
            if isinstance(mean, str):
                mean = dataset.mean if mean == "dataset" else weights().mean
            if isinstance(std, str):
                std = dataset.std if std == "dataset" else weights().std
            if 0.0 in std:
                raise InputError(
                    "params.yaml: transforms: Normalize.std: found dataset, but the training images have one "
                    f"value throughout channel {std.index(0.0)} (standard deviation 0); check "
                    "dataset.source, or give numbers"
                )
            filled.append(schema.Normalize(name="Normalize", mean=mean, std=std))
        else:
            filled.append(transform)
    return tuple(filled)


def for_training(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that apply in training."""
    return tuple(transform for transform in transforms if transform.applies(training=True))


def without_random(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that apply in validation, testing and prediction."""
    return tuple(transform for transform in transforms if transform.applies(training=False))


def only_form(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that change the size of images, for pictures of what a network sees."""
    plain = schema.Transform.change_form
    return tuple(transform for transform in transforms if type(transform).change_form is not plain)
