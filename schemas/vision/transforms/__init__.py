"""The `transforms` section: what happens to an image on its way to the network, in order.

Names, arguments and defaults are torchvision's, with two exceptions: its `size` is `height_px` and `width_px`
here, because DVC's run cache ignores a key named `size`; and AlternatingHorizontalFlip is not in torchvision.
An entry is a bare name (`- ToTensor`) or a name with its arguments (`- RandomCrop: {padding: 4}`).
"""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, TypeAlias, Union, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.shared.fields import Items
from schemas.shared.manifest import ImageForm
from schemas.vision.transforms.augmentation import (
    ColorJitter,
    GaussianBlur,
    RandomAffine,
    RandomGrayscale,
    RandomRotation,
    TrivialAugmentWide,
)
from schemas.vision.transforms.geometry import (
    AlternatingHorizontalFlip,
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from schemas.vision.transforms.numbers import CutMix, MixUp, Normalize, RandomErasing, ToTensor
from schemas.vision.transforms.torchvision_by_name import REFUSED
from schemas.vision.transforms.transform import Form, Transform

__all__ = [
    "TRANSFORMS",
    "AlternatingHorizontalFlip",
    "CenterCrop",
    "ColorJitter",
    "CutMix",
    "Form",
    "GaussianBlur",
    "MixUp",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "Transform",
    "Transforms",
    "TrivialAugmentWide",
    "change_form",
    "find_transform_problems",
    "image_after",
]


def _find_transforms() -> tuple[type[Transform], ...]:
    """Return the transform classes of every module in this folder, in the order of files and lines."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return tuple(
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Transform) and found.__module__ == module.__name__
        if get_args(found.model_fields["name"].annotation)
    )


TRANSFORMS = _find_transforms()


def _unfold(entry: object) -> object:
    """Turn `Name` and `{Name: {arguments}}` into one mapping with a `name`."""
    name = next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else entry
    if isinstance(name, str) and name in REFUSED:
        raise ValueError(f"found {name}, which {REFUSED[name]}")
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, dict) and len(entry) == 1:
        [(name, arguments)] = entry.items()
        if isinstance(arguments, dict) and "name" not in arguments:
            return {"name": name, **arguments}
    if isinstance(entry, Transform):
        return entry
    raise ValueError(
        "allowed: a name, as in - ToTensor, or one name with its arguments, as in - RandomCrop: {padding: 4}"
    )


def _check_order(transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
    names = [transform.name for transform in transforms]
    if names.count("ToTensor") != 1 or names.count("Normalize") != 1:
        raise ValueError("the list has to hold ToTensor and Normalize, each of them once")
    to_tensor, normalize = names.index("ToTensor"), names.index("Normalize")
    if normalize < to_tensor:
        raise ValueError("ToTensor must come before Normalize")
    for index, transform in enumerate(transforms):
        is_allowed = {
            "before ToTensor": index < to_tensor,
            "after ToTensor": index >= to_tensor,
            "last": index > normalize and all(later.position == "last" for later in transforms[index:]),
        }[transform.position]
        if not is_allowed:
            where = "at the end of the list" if transform.position == "last" else transform.position
            raise ValueError(f"{transform.name} must come {where}")
    return transforms


if TYPE_CHECKING:
    Entry: TypeAlias = Transform
else:
    Entry = Annotated[
        Annotated[Union[TRANSFORMS], Field(discriminator="name")],  # noqa: UP007 - built at run time
        BeforeValidator(_unfold),
    ]
Transforms = Annotated[Items[Entry], AfterValidator(_check_order)]


def change_form(form: Form, transforms: Transforms, *, training: bool) -> Form:
    """Return the form of images after the list, in training or in validation, testing and prediction."""
    for transform in transforms:
        if transform.applies(training=training):
            form = transform.change_form(form)
    return form


def image_after(image: ImageForm, transforms: Transforms, *, training: bool = False) -> ImageForm:
    """Return the form of the network's input for prepared images, in training or everywhere else."""
    form = change_form(
        Form(image.height_px, image.width_px, image.num_channels), transforms, training=training
    )
    return image.model_copy(update={"height_px": form.height_px, "width_px": form.width_px})


def find_transform_problems(form: Form, transforms: Transforms) -> Iterator[tuple[int, str, str]]:
    """Yield (index, argument, message) for every transform that does not fit the images it gets."""
    reported = set()
    for training in (True, False):
        current = form
        for index, transform in enumerate(transforms):
            if not transform.applies(training=training):
                continue
            for argument, message in transform.find_problems(current):
                if (index, argument) not in reported:
                    reported.add((index, argument))
                    yield index, argument, message
            current = transform.change_form(current)
