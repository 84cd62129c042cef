"""torchvision's own transforms, by name."""

import inspect
import pickle
import warnings
from enum import Enum

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from schemas.vision.transforms.torchvision_by_name import REFUSED, SIGNATURES
from stages.shared.errors import InputError
from stages.vision.rng import draw_uniform, seed_from_uniform
from stages.vision.transforms import build_transforms
from stages.vision.transforms.torchvision_by_name import TorchvisionTransform
from tests.vision.transforms.samples import (
    ARGUMENTS,
    OURS,
    THEIRS,
    apply_to,
    count_up,
    draw,
    draw_images,
    make_schema,
)


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_are_those_of_torchvision(name: str) -> None:
    """Names, order and defaults of all arguments are those of the torchvision that is installed."""
    theirs = {}
    for key, parameter in inspect.signature(getattr(v2, name)).parameters.items():
        default = parameter.default
        theirs[key] = (
            ...
            if default is inspect.Parameter.empty
            else default.value
            if isinstance(default, Enum)
            else default
        )
    assert list(theirs.items()) == list(SIGNATURES[name].items())


def test_every_transform_of_torchvision_is_taken_or_refused() -> None:
    """A new one in a newer torchvision has to be given a place."""
    everything = {
        name
        for name, found in vars(v2).items()
        if isinstance(found, type) and issubclass(found, v2.Transform) and found is not v2.Transform
    }
    only_here = {"AlternatingHorizontalFlip"}
    assert everything == (set(OURS) - only_here) | set(THEIRS) | set(REFUSED)


@pytest.mark.parametrize("name", THEIRS)
def test_result_is_that_of_torchvision(name: str) -> None:
    """An image is what torchvision makes of it with the random numbers of its own seed, in any batch."""
    transform = build_transforms((THEIRS[name],), seed=3)
    images = draw_images(12, (3, 16, 16))
    changed = transform(images, samples=count_up(12), epoch=2)
    policy = {"policy": v2.AutoAugmentPolicy.IMAGENET} if name == "AutoAugment" else {}
    theirs = getattr(v2, name)(**ARGUMENTS.get(name, {}) | policy)
    uniforms = draw_uniform(3, 2, 0, samples=count_up(12), num_values=1)[:, 0]
    for image, found, number in zip(images, changed, uniforms.tolist(), strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(seed_from_uniform(number))
            assert torch.equal(found, apply_quietly(theirs, image))
    assert not torch.equal(changed, images)
    again = transform(images[4:5], samples=count_up(12)[4:5], epoch=2)
    assert torch.equal(again[0], changed[4])


def apply_quietly(transform: v2.Transform, image: Tensor) -> Tensor:
    """Return what torchvision makes of an image, without its deprecation warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed: Tensor = transform(image.contiguous())
    return changed


def test_every_image_has_random_numbers_of_its_own() -> None:
    """Copies of one image become different ones, and torch's own random numbers are left as they were."""
    noise = TorchvisionTransform("GaussianNoise", mean=0.0, sigma=0.1, clip=True)
    before = torch.random.get_rng_state()
    changed = apply_to(noise, torch.full((6, 3, 8, 8), 99, dtype=torch.uint8), draw(6, 1))
    assert len({image.numpy().tobytes() for image in changed}) == 6
    assert torch.equal(torch.random.get_rng_state(), before)


def test_transform_travels_to_a_worker() -> None:
    """Pickled, it is the same."""
    transform = TorchvisionTransform("RandAugment", **SIGNATURES["RandAugment"])
    images, uniforms = draw_images(5, (3, 12, 12)), draw(5, 1)
    copy = pickle.loads(pickle.dumps(transform))
    assert torch.equal(apply_to(copy, images, uniforms), apply_to(transform, images, uniforms))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("JPEG", {"quality": 0}),
        ("AutoAugment", {"policy": "imagnet"}),
        ("RandomPerspective", {"distortion_scale": 7}),
    ],
)
def test_refused_arguments_are_one_line(name: str, arguments: dict[str, object]) -> None:
    """What torchvision refuses is said in one line, before any image is read."""
    with pytest.raises(
        InputError, match=rf"^params\.yaml: transforms: {name}: torchvision refuses it: .+"
    ) as told:
        build_transforms((make_schema(name, **arguments),))
    assert "\n" not in str(told.value)


def test_an_image_that_torchvision_refuses_is_one_line() -> None:
    """What torchvision finds wrong no sooner than with an image in hand is one line as well."""
    transform = build_transforms((make_schema("ElasticTransform", sigma=20.0),))
    with pytest.raises(InputError, match=r"ElasticTransform: torchvision refuses it: .*or place"):
        transform(draw_images(2), samples=count_up(2))


def test_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transform that changes type or shape would end in torch's own error otherwise."""

    def shrink(_transform: v2.RandomInvert, image: Tensor) -> Tensor:
        return image[:, 1:]

    monkeypatch.setattr(v2.RandomInvert, "forward", shrink)
    transform = build_transforms((make_schema("RandomInvert"),))
    with pytest.raises(
        InputError, match=r"RandomInvert: makes .* allowed: transforms that keep type and shape"
    ):
        transform(draw_images(2), samples=count_up(2))
