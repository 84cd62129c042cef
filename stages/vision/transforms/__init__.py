"""Transforms under torchvision's names and with its meaning.

A transform is found by its name: the module in this folder named like the module of its schema holds a class
of the same name, whose arguments are the schema's fields. `compose.py` says what such a class is.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision.transforms.compose import Compose
from stages.vision.transforms.numbers import Mixing

__all__ = [
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
    """Return the transform or the BatchMixer that a schema describes."""
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
