"""Transforms on whole batches, under torchvision's names and with its meaning.

Images are tensors (N, C, H, W) in channels_last memory: uint8 up to ToTensor, float32 after it. A random
transform is a pure function of the images and of numbers in [0, 1) drawn for each of them, so that the same
sample in the same epoch is always changed the same way.

A transform is found by its name: the module here that is named like the module of its schema holds a class of
the name, whose arguments are the schema's.
"""

from collections.abc import Sequence
from importlib import import_module

from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision.transforms.compose import BatchTransform, Compose
from stages.vision.transforms.mixing import Mixing

__all__ = [
    "BatchTransform",
    "Compose",
    "Mixing",
    "build_mixing",
    "build_transforms",
    "fill_in_statistics",
    "for_training",
    "only_form",
    "without_random",
]


def build_transforms(transforms: schema.Transforms, *, seed: int = 0) -> Compose:
    """Return the transforms of single images in a list whose mean and std are numbers.

    Raises:
        InputError: torchvision refuses the arguments of a transform of its own.
    """
    of_images = [transform for transform in transforms if transform.stands != "last"]
    return Compose([_build_transform(transform) for transform in of_images], seed=seed)


def build_mixing(transforms: schema.Transforms, *, num_classes: int, seed: int) -> Mixing | None:
    """Return what mixes the images of a batch at the end of the list, or None if nothing does."""
    of_batches = [transform for transform in transforms if transform.stands == "last"]
    if not of_batches:
        return None
    return Mixing(
        [_build_transform(transform) for transform in of_batches], num_classes=num_classes, seed=seed
    )


def _build_transform(transform: schema.Transform):  # type: ignore[no-untyped-def]
    """Return the transform of images, or of batches, that a schema stands for."""
    arguments = {name: getattr(transform, name) for name in type(transform).model_fields if name != "name"}
    arguments.pop("in_training", None)
    family = type(transform).__module__.rpartition(".")[2]
    return getattr(import_module(f"{__name__}.{family}"), transform.name)(**arguments)


def fill_in_statistics(
    transforms: schema.Transforms, *, mean: Sequence[float], std: Sequence[float]
) -> schema.Transforms:
    """Return the list with `dataset` replaced by what was measured on the training split.

    Raises:
        InputError: A channel of the training images is the same everywhere, so it cannot be divided by its
            standard deviation.
    """
    filled: list[schema.Transform] = []
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


def for_training(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that apply in training."""
    return tuple(transform for transform in transforms if transform.applies(training=True))


def without_random(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that apply when the network is validated, tested or used."""
    return tuple(transform for transform in transforms if transform.applies(training=False))


def only_form(transforms: schema.Transforms) -> schema.Transforms:
    """Return the transforms that change the form of images, for pictures of what a network sees."""
    plain = schema.Transform.change_form
    return tuple(transform for transform in transforms if type(transform).change_form is not plain)
