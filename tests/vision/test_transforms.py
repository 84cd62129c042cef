"""Transforms do to a batch what torchvision does to each of its images."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import functional as reference

from schemas.vision import transforms as schema
from stages.shared.errors import InputError
from stages.vision import transforms
from stages.vision.transforms import (
    BatchTransform,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
    ToTensor,
    build_transforms,
    fill_in_statistics,
    without_random,
)
from tests.vision.completeness import read_test

SHAPES = [(1, 8, 8), (3, 5, 9), (3, 9, 4), (1, 1, 7)]
LARGEST = 1 - 2**-53
"""The largest number that is drawn."""

NO_DRAWS = torch.empty(0, 0, dtype=torch.float64)

RANDOM: list[BatchTransform] = [
    RandomCrop(padding=2),
    RandomHorizontalFlip(p=0.5),
    RandomVerticalFlip(p=0.5),
    RandomRotation(degrees=90),
]

EXAMPLES: dict[str, schema.AnyTransform] = {
    "RandomCrop": schema.RandomCrop(name="RandomCrop", padding=2),
    "RandomHorizontalFlip": schema.RandomHorizontalFlip(name="RandomHorizontalFlip", p=0.5),
    "RandomVerticalFlip": schema.RandomVerticalFlip(name="RandomVerticalFlip", p=0.5),
    "RandomRotation": schema.RandomRotation(name="RandomRotation", degrees=10),
    "ToTensor": schema.ToTensor(name="ToTensor"),
    "Normalize": schema.Normalize(name="Normalize", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)),
}


def draw_images(num: int, shape: tuple[int, int, int] = (3, 5, 9)) -> Tensor:
    """Return uint8 images (N, C, H, W) in channels_last memory, as the data set gives them."""
    channels, height, width = shape
    generator = np.random.default_rng(0)
    pixels = generator.integers(1, 256, (num, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def spread_evenly(num: int) -> Tensor:
    """Return draws (N, 1) that stand in the middle of N equal parts of [0, 1)."""
    return ((torch.arange(num, dtype=torch.float64) + 0.5) / num)[:, None]


def draw(num: int, num_draws: int) -> Tensor:
    """Return random draws (N, num_draws)."""
    return torch.rand(num, num_draws, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def count_up(num: int) -> npt.NDArray[np.int64]:
    """Return the sample numbers 0, 1, ... (N,)."""
    return np.arange(num)


@pytest.mark.parametrize("padding", [0, 1, 2, 11])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_crop_cuts_what_torchvision_cuts(shape: tuple[int, int, int], padding: int) -> None:
    """Every place of the window gives torchvision's pad and crop, also with more padding than image."""
    places = 2 * padding + 1
    along = spread_evenly(places)[:, 0]
    draws = torch.cartesian_prod(along, along).reshape(-1, 2)
    images = draw_images(len(draws), shape)
    cropped = RandomCrop(padding=padding)(images, draws)
    for number, (image, found) in enumerate(zip(images, cropped, strict=True)):
        top, left = divmod(number, places)
        padded = reference.pad(image, [padding])
        expected = reference.crop(padded, top=top, left=left, height=shape[1], width=shape[2])
        assert torch.equal(found, expected)


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 4, 7, 8, 16, 33, 100])
def test_random_crop_stays_inside_the_padding(padding: int) -> None:
    """The smallest and the largest draw reach the two ends of the padded image, and never beyond."""
    side = 2 * padding + 1
    image = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    image[:, :, padding, padding] = 255  # the centre, which each end moves to a corner
    draws = torch.tensor([[0.0, 0.0], [LARGEST, LARGEST]], dtype=torch.float64)
    first, last = RandomCrop(padding=padding)(image, draws)
    assert first[0, -1, -1] == 255
    assert last[0, 0, 0] == 255


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips_mirror_as_torchvision_does(shape: tuple[int, int, int], p: float) -> None:
    """Images whose draw is below p are mirrored, all others stay; p is the share of the mirrored."""
    images, draws = draw_images(20, shape), spread_evenly(20)
    across = RandomHorizontalFlip(p=p)(images, draws)
    down = RandomVerticalFlip(p=p)(images, draws)
    for number, image in enumerate(images):
        is_flipped = number < 20 * p
        assert torch.equal(across[number], reference.horizontal_flip(image) if is_flipped else image)
        assert torch.equal(down[number], reference.vertical_flip(image) if is_flipped else image)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_flips_leave_out_their_limit(p: float) -> None:
    """A draw of exactly p does not mirror: p = 0 never does, though 0 may be drawn."""
    images, draws = draw_images(1), torch.tensor([[p]], dtype=torch.float64)
    assert torch.equal(RandomHorizontalFlip(p=p)(images, draws), images)
    assert torch.equal(RandomVerticalFlip(p=p)(images, draws), images)


@pytest.mark.parametrize("degrees", [10.0, 45.0, 180.0])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 28, 28), (3, 32, 20)])
def test_random_rotation_turns_as_torchvision_does(shape: tuple[int, int, int], degrees: float) -> None:
    """The same angle gives the same pixels as torchvision's rotate with nearest pixel and black corners."""
    images, draws = draw_images(60, shape), draw(60, 1)
    turned = RandomRotation(degrees=degrees)(images, draws)
    for image, found, number in zip(images, turned, draws[:, 0].tolist(), strict=True):
        angle = (2 * number - 1) * degrees
        assert torch.equal(found, reference.rotate(image, angle))


def test_random_rotation_turns_by_quarters() -> None:
    """The smallest draw turns clockwise by all degrees, the middle not at all, a high one the other way."""
    images = draw_images(3, (3, 6, 6))
    draws = torch.tensor([[0.0], [0.5], [LARGEST]], dtype=torch.float64)
    right, straight, left = RandomRotation(degrees=90)(images, draws)
    assert torch.equal(right, images[0].rot90(-1, (1, 2)))
    assert torch.equal(straight, images[1])
    assert torch.equal(left, images[2].rot90(1, (1, 2)))


def test_random_rotation_by_nothing_changes_nothing() -> None:
    """degrees: 0 keeps every image, whatever is drawn."""
    images = draw_images(20)
    assert torch.equal(RandomRotation(degrees=0)(images, spread_evenly(20)), images)


@pytest.mark.parametrize("transform", RANDOM, ids=lambda transform: type(transform).__name__)
def test_random_transforms_change_an_image_alone_as_in_a_batch(transform: BatchTransform) -> None:
    """What becomes of an image depends on its own draws, bit for bit, and not on its batch."""
    images, draws = draw_images(33), draw(33, transform.num_draws)
    together = transform(images, draws)
    for number in range(len(images)):
        one = slice(number, number + 1)
        assert torch.equal(transform(images[one], draws[one]), together[one])


@pytest.mark.parametrize("transform", RANDOM, ids=lambda transform: type(transform).__name__)
def test_random_transforms_keep_the_form_and_the_input(transform: BatchTransform) -> None:
    """Images come out as uint8 of the same shape, and those that went in are not touched."""
    images = draw_images(16)
    before = images.clone()
    changed = transform(images, draw(16, transform.num_draws))
    assert changed.dtype == torch.uint8
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)
    assert torch.equal(images, before)


def test_to_tensor_scales_as_torchvision_does() -> None:
    """All 256 bytes become torchvision's floats, and the bytes stay as they are."""
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    before = images.clone()
    scaled = ToTensor()(images, NO_DRAWS)
    assert torch.equal(scaled[0], to_tensor(images[0].permute(1, 2, 0).numpy()))
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert torch.equal(images, before)


def test_normalize_is_that_of_torchvision() -> None:
    """Each channel loses its mean and is divided by its standard deviation; the input stays as it is."""
    images = draw_images(4).float() / 255
    before = images.clone()
    mean, std = [0.1, 0.5, 0.9], [0.3, 0.2, 1e-3]
    assert torch.equal(
        Normalize(mean=mean, std=std)(images, NO_DRAWS), reference.normalize(images, mean, std)
    )
    assert torch.equal(images, before)


def test_compose_applies_transforms_in_order() -> None:
    """The result is that of one transform after the other, float32 in channels_last memory."""
    images = draw_images(4)
    listed = (EXAMPLES["ToTensor"], EXAMPLES["Normalize"])
    composed = build_transforms(listed)(images)
    expected = Normalize(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))(ToTensor()(images, NO_DRAWS), NO_DRAWS)
    assert torch.equal(composed, expected)
    assert composed.dtype == torch.float32
    assert composed.is_contiguous(memory_format=torch.channels_last)


def apply(
    *,
    samples: Sequence[int] = range(40),
    seed: int = 0,
    epoch: int = 0,
    placed: Sequence[BatchTransform] = (),
) -> Tensor:
    """Return what a random crop makes of copies of one image."""
    images = draw_images(1).expand(len(samples), -1, -1, -1)
    compose = Compose([*placed, RandomCrop(padding=2)], seed=seed)
    return compose(images, samples=np.array(samples), epoch=epoch)


def test_compose_draws_by_sample() -> None:
    """A sample is changed the same way in every batch and at every place in it; samples differ."""
    together = apply()
    assert torch.equal(apply(samples=[7, 3, 30]), together[[7, 3, 30]])
    assert len({image.numpy().tobytes() for image in together}) > 10


def test_compose_draws_anew_for_every_epoch_seed_and_place() -> None:
    """Another epoch, another seed and another place in the list each change how images are changed."""
    nothing = RandomHorizontalFlip(p=0.0)
    once = apply()
    assert torch.equal(apply(), once)
    for other in (apply(epoch=1), apply(seed=1), apply(placed=[nothing])):
        assert not torch.equal(other, once)


def test_compose_draws_for_each_transform_apart() -> None:
    """Two equal transforms in one list do not do the same twice: flips cancel for half of the images."""
    images = draw_images(200)
    flips = Compose([RandomHorizontalFlip(p=0.5), RandomHorizontalFlip(p=0.5)])
    flipped = flips(images, samples=count_up(200))
    unchanged = (flipped == images).flatten(1).all(dim=1).sum().item()
    assert 70 < unchanged < 130


def test_compose_draws_evenly() -> None:
    """Crops of many samples reach each of the 25 places about equally often (chi-square, p = 0.0002)."""
    image = torch.zeros(5000, 1, 5, 5, dtype=torch.uint8)
    image[:, :, 2, 2] = 1
    counts = Compose([RandomCrop(padding=2)])(image, samples=count_up(5000)).sum(dim=0).flatten()
    assert ((counts - 200.0) ** 2 / 200).sum() < 56


def test_statistics_of_the_data_set_are_filled_in() -> None:
    """`dataset` becomes the measured numbers; numbers that were given, and all else, stay."""
    crop, to_tensor = EXAMPLES["RandomCrop"], EXAMPLES["ToTensor"]
    normalize = schema.Normalize(name="Normalize", mean="dataset", std=(0.5,))
    filled = fill_in_statistics((crop, to_tensor, normalize), mean=(0.25,), std=(0.75,))
    assert filled == (crop, to_tensor, schema.Normalize(name="Normalize", mean=(0.25,), std=(0.5,)))
    normalize = schema.Normalize(name="Normalize", mean=(0.5,), std="dataset")
    filled = fill_in_statistics((to_tensor, normalize), mean=(0.25,), std=(0.75,))
    assert filled == (to_tensor, schema.Normalize(name="Normalize", mean=(0.5,), std=(0.75,)))


def test_flat_channel_is_refused() -> None:
    """A measured standard deviation of 0 cannot be divided by; the message names the key and the channel."""
    normalize = schema.Normalize(name="Normalize", mean="dataset", std="dataset")
    with pytest.raises(InputError, match=r"params\.yaml: transforms: Normalize\.std: .* channel 1 "):
        fill_in_statistics((normalize,), mean=(0.5, 0.5, 0.5), std=(0.1, 0.0, 0.0))


def test_random_transforms_are_left_out_of_preprocessing() -> None:
    """What applies outside training is the transforms that are not random, in their order."""
    kept = without_random(tuple(EXAMPLES.values()))
    assert kept == (EXAMPLES["ToTensor"], EXAMPLES["Normalize"])


@pytest.mark.parametrize("transform", schema.TRANSFORMS, ids=lambda transform: transform.__name__)
def test_every_transform_of_the_schema_is_built_and_tested(transform: type[schema.Transform]) -> None:
    """A transform that params.yaml may name is built from its entry, and a test above uses it."""
    name = transform.__name__
    images = draw_images(2)
    if name == "Normalize":
        images = images.float()
    changed = build_transforms((EXAMPLES[name],))(images, samples=count_up(2))
    assert changed.shape == images.shape
    assert (getattr(transforms, name).num_draws > 0) == transform.random
    assert re.search(rf"(?<!schema\.)\b{name}\(", read_test("vision/test_transforms.py"))
