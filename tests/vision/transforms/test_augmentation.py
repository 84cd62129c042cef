"""Augmentations do to images what torchvision does to them."""

from collections import Counter
from itertools import permutations
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from schemas.vision.transforms import Form
from stages.vision.transforms.augmentation import (
    OPERATIONS,
    ColorJitter,
    GaussianBlur,
    RandomAffine,
    RandomGrayscale,
    RandomRotation,
    TrivialAugmentWide,
)
from tests.vision.transforms.samples import (
    LARGEST,
    apply_to,
    assert_near,
    draw,
    draw_images,
    make_schema,
    spread_evenly,
)

SHAPES = [(1, 8, 8), (3, 5, 9), (3, 9, 4), (1, 1, 7)]


@pytest.mark.parametrize("degrees", [10.0, 45.0, 180.0])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 28, 28), (3, 32, 20)])
def test_random_rotation_turns_as_torchvision_does(shape: tuple[int, int, int], degrees: float) -> None:
    """The same angle gives the same pixels as torchvision's rotate with nearest pixel and black corners."""
    images, uniforms = draw_images(60, shape), draw(60, 1)
    turned = apply_to(RandomRotation(degrees=degrees), images, uniforms)
    for image, found, number in zip(images, turned, uniforms[:, 0].tolist(), strict=True):
        angle = (2 * number - 1) * degrees
        assert torch.equal(found, reference.rotate(image, angle))


def test_random_rotation_turns_by_quarters() -> None:
    """The smallest number rotates clockwise by all degrees, the middle one not at all, a high one back."""
    images = draw_images(3, (3, 6, 6))
    uniforms = torch.tensor([[0.0], [0.5], [LARGEST]], dtype=torch.float64)
    right, straight, left = apply_to(RandomRotation(degrees=90), images, uniforms)
    assert torch.equal(right, images[0].rot90(-1, (1, 2)))
    assert torch.equal(straight, images[1])
    assert torch.equal(left, images[2].rot90(1, (1, 2)))


def test_random_rotation_by_nothing_changes_nothing() -> None:
    """degrees: 0 keeps every image, whatever the random numbers."""
    images = draw_images(20)
    assert torch.equal(apply_to(RandomRotation(degrees=0), images, spread_evenly(20)), images)


@pytest.mark.parametrize("angle", [30.0, 45.0, -135.0, 90.0])
def test_warp_takes_another_neighbor_halfway_between_two(angle: float) -> None:
    """Where OpenCV rounds otherwise: less than one pixel in a hundred, and none at right angles."""
    (image,) = draw_images(1, (3, 64, 64))
    (turned,) = apply_to(RandomRotation(degrees=(angle, angle)), image[None], draw(1, 1))
    is_other = (turned != reference.rotate(image, angle)).double().mean()
    assert is_other < (0.01 if angle % 90 else 1e-9)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill", [0.0, 70.0, (10.0, 50.0, 90.0)])
def test_random_rotation_takes_torchvision_s_arguments(
    fill: float | tuple[float, ...], interpolation: str
) -> None:
    """A range of angles, a point to rotate around, bilinear pixels and a color for the corners."""
    images, uniforms = draw_images(30, (3, 12, 9)), draw(30, 1)
    rotation = RandomRotation(
        degrees=(-20.0, 70.0), interpolation=interpolation, center=(2.0, 3.0), fill=fill
    )
    turned = apply_to(rotation, images, uniforms)
    expected = [
        reference.rotate(
            image,
            -20 + 90 * number,
            interpolation=InterpolationMode(interpolation),
            center=[2.0, 3.0],
            fill=list(fill) if isinstance(fill, tuple) else fill,
        )
        for image, number in zip(images, uniforms[:, 0].tolist(), strict=True)
    ]
    assert_near(turned, torch.stack(expected), most_differ=0.05 if interpolation == "bilinear" else 0.0)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(3, 20, 27), (1, 9, 9)])
def test_random_affine_is_that_of_torchvision(shape: tuple[int, int, int], interpolation: str) -> None:
    """Random angle, shift, scale and shear give torchvision's pixels."""
    images, uniforms = draw_images(40, shape), draw(40, RandomAffine.num_uniforms)
    affine = RandomAffine(
        degrees=(-40.0, 70.0),
        translate=(0.1, 0.2),
        scale=(0.7, 1.3),
        shear=(-10.0, 10.0, -5.0, 5.0),
        interpolation=interpolation,
        fill=30.0,
    )
    expected = []
    for image, numbers in zip(images, uniforms.tolist(), strict=True):
        across, down = (
            (2 * number - 1) * most for number, most in zip(numbers[1:3], (0.1, 0.2), strict=True)
        )
        moved = reference.affine(
            image,
            angle=-40 + 110 * numbers[0],
            translate=[round(across * shape[2]), round(down * shape[1])],
            scale=0.7 + 0.6 * numbers[3],
            shear=[-10 + 20 * numbers[4], -5 + 10 * numbers[5]],
            interpolation=InterpolationMode(interpolation),
            fill=30.0,
        )
        expected.append(moved)
    found = apply_to(affine, images, uniforms)
    assert_near(found, torch.stack(expected), most_differ=0.05 if interpolation == "bilinear" else 0.0)


def test_random_affine_does_what_is_asked_for_only() -> None:
    """Without shift, factor and shear it turns alone, clockwise; with a shift alone it moves whole pixels."""
    images, uniforms = draw_images(20, (3, 9, 9)), draw(20, 6)
    turned = apply_to(RandomAffine(degrees=50.0), images, uniforms)
    assert torch.equal(turned, apply_to(RandomRotation(degrees=50.0), images, 1 - uniforms[:, :1]))
    shifted = apply_to(RandomAffine(degrees=0.0, translate=(0.0, 0.5)), images, uniforms)
    for image, found, number in zip(images, shifted, uniforms[:, 2].tolist(), strict=True):
        rows = round((2 * number - 1) * 4.5)
        expected = torch.zeros_like(image)
        expected[:, max(0, rows) : 9 + min(0, rows)] = image[:, max(0, -rows) : 9 - max(0, rows)]
        assert torch.equal(found, expected)


def test_random_affine_has_torchvisions_distribution() -> None:
    """A shift by whole pixels has torchvision's distribution, the half steps at its ends among them."""
    images = torch.zeros(4000, 1, 1, 11, dtype=torch.uint8)
    images[:, :, :, 5] = 1
    moved = apply_to(RandomAffine(degrees=0.0, translate=(0.3, 0.0)), images, draw(4000, 6))
    places = moved.flatten(1).argmax(dim=1) - 5
    theirs = v2.RandomAffine(degrees=0, translate=(0.3, 0.0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.make_params([images[0]])["translate"][0] for _ in range(4000)]
    table = [
        [(places == place).sum().item() for place in range(-3, 4)],
        [drawn.count(p) for p in range(-3, 4)],
    ]
    assert stats.chi2_contingency(table).pvalue > 1e-3


ADJUST = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", range(4))
def test_color_jitter_changes_one_thing_as_torchvision_does(change: int, channels: int) -> None:
    """Brightness, contrast, saturation or hue alone, in color and gray."""
    images, uniforms = draw_images(40, (channels, 9, 11)), draw(40, 8)
    images[0] = images[0, :1]  # gray: torchvision's luma of it is a level lower
    name = ("brightness", "contrast", "saturation", "hue")[change]
    low, high = (-0.3, 0.5) if name == "hue" else (0.2, 1.9)
    changed = apply_to(ColorJitter(**{name: (low, high)}), images, uniforms)
    amounts = low + uniforms[:, change] * (high - low)
    expected = [ADJUST[change](image, amount) for image, amount in zip(images, amounts.tolist(), strict=True)]
    assert_near(changed, torch.stack(expected))


def test_color_jitter_changes_in_random_order() -> None:
    """All four follow each other in the order of their numbers, as torchvision's functions do."""
    images, uniforms = draw_images(60, (3, 9, 11)), draw(60, 8)
    jitter = ColorJitter(brightness=0.5, contrast=(0.4, 1.2), saturation=1.5, hue=0.2)
    lows, highs = [0.5, 0.4, 0.0, -0.2], [1.5, 1.2, 2.5, 0.2]
    expected = []
    for image, numbers in zip(images, uniforms.tolist(), strict=True):
        for change in sorted(range(4), key=lambda change: numbers[4 + change]):
            amount = lows[change] + numbers[change] * (highs[change] - lows[change])
            image = ADJUST[change](image, amount)
        expected.append(image)
    # A level more or less of one change may become two in the next.
    levels = (apply_to(jitter, images, uniforms).int() - torch.stack(expected).int()).abs()
    assert levels.max() <= 2
    assert (levels > 0).double().mean() < 0.002


def test_every_order_of_color_jitter_is_as_likely() -> None:
    """Each of the 24 orders is as frequent as the others (chi-square)."""
    counts = Counter(tuple(order) for order in draw(4800, 4).argsort(dim=1).tolist())
    assert set(counts) == set(permutations(range(4)))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_color_jitter_of_nothing_changes_nothing() -> None:
    """The defaults are torchvision's None: images stay as they are, to the bit."""
    images = draw_images(10)
    assert torch.equal(apply_to(ColorJitter(), images, draw(10, 8)), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_random_grayscale_is_that_of_torchvision(channels: int) -> None:
    """Images whose random number is below p become gray and keep their channels."""
    images = draw_images(20, (channels, 6, 7))
    images[0] = images[0, :1]  # gray: torchvision's luma of it is a level lower
    found = apply_to(RandomGrayscale(p=0.3), images, spread_evenly(20))
    expected: list[Tensor] = [reference.rgb_to_grayscale(image, channels) for image in images[:6]]
    assert_near(found[:6], torch.stack(expected))
    assert torch.equal(found[6:], images[6:])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, (5, 7), 13])
def test_gaussian_blur_is_that_of_torchvision(kernel_size: int | tuple[int, int], channels: int) -> None:
    """Every width of the Gaussian between the limits gives torchvision's pixels."""
    images, uniforms = draw_images(30, (channels, 8, 11)), spread_evenly(30)
    blurred = apply_to(GaussianBlur(kernel_size=kernel_size, sigma=(0.1, 3.0)), images, uniforms)
    sides = list(kernel_size) if isinstance(kernel_size, tuple) else [kernel_size] * 2
    sigmas = 0.1 + 2.9 * uniforms[:, 0]
    expected = [
        reference.gaussian_blur(image, sides, [sigma])
        for image, sigma in zip(images, sigmas.tolist(), strict=True)
    ]
    assert_near(blurred, torch.stack(expected))


def test_gaussian_blur_reflects_at_most_the_whole_image() -> None:
    """A kernel that reaches beyond the reflected image is refused, one that just does not is blurred."""
    assert not list(make_schema("GaussianBlur", kernel_size=[21, 15]).find_problems(Form(8, 11, 3)))
    for kernel_size in ([23, 15], [21, 17]):
        assert list(make_schema("GaussianBlur", kernel_size=kernel_size).find_problems(Form(8, 11, 3)))
    apply_to(GaussianBlur(kernel_size=(21, 15)), draw_images(2, (3, 8, 11)), spread_evenly(2))


class Recorded(v2.TrivialAugmentWide):  # type: ignore[misc]
    """torchvision's, which records its random choice instead of applying it."""

    drawn: tuple[str, float]

    def _apply_image_or_video_transform(
        self, image: Tensor, transform_id: str, magnitude: float, **_arguments: Any
    ) -> Tensor:
        self.drawn = transform_id, round(magnitude, 4)
        return image

    def draw(self) -> tuple[str, float]:
        self(torch.zeros(3, 4, 4, dtype=torch.uint8))
        return self.drawn


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_that_of_torchvision(operation: str, channels: int, interpolation: str) -> None:
    """At every strength, to both sides."""
    images = draw_images(40, (channels, 20, 24))
    images[::3] = images[::3] // 4 + 20  # something for autocontrast and equalize to do
    uniforms = draw(40, 3)
    uniforms[:, 0] = (OPERATIONS.index(operation) + 0.5) / len(OPERATIONS)
    changed = apply_to(TrivialAugmentWide(interpolation=interpolation), images, uniforms)
    theirs = v2.TrivialAugmentWide(interpolation=interpolation)
    strengths_of, is_signed = theirs._AUGMENTATION_SPACE[operation]
    strengths = strengths_of(31, 20, 24)
    expected = []
    for image, numbers in zip(images, uniforms.tolist(), strict=True):
        strength = 0.0 if strengths is None else float(strengths[int(numbers[1] * 31)])
        strength *= -1 if is_signed and numbers[2] <= 0.5 else 1
        expected.append(
            theirs._apply_image_or_video_transform(
                image, operation, strength, interpolation=theirs.interpolation, fill=theirs._fill
            )
        )
    assert_near(changed, torch.stack(expected))
    assert torch.equal(changed, images) == (
        operation == "Identity" or (operation == "Color" and channels == 1)
    )


def test_operations_have_torchvisions_distribution() -> None:
    """Torchvision's 14 operations, in its order, each as likely as the others (chi-square), as there."""
    assert tuple(v2.TrivialAugmentWide._AUGMENTATION_SPACE) == OPERATIONS
    ours = Counter((draw(2800, 3)[:, 0] * len(OPERATIONS)).long().tolist())
    theirs = Recorded()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.draw() for _ in range(2800)]
    names = Counter(operation for operation, _ in drawn)
    assert (
        stats.chi2_contingency(
            [[ours[place] for place in range(14)], [names[operation] for operation in OPERATIONS]]
        ).pvalue
        > 1e-3
    )
    is_negative = [strength < 0 for operation, strength in drawn if operation == "Rotate" and strength]
    assert 0.35 < sum(is_negative) / len(is_negative) < 0.65


def test_corners_are_filled() -> None:
    """fill: a color where the rotated image leaves a corner; null: black."""
    images = torch.full((4, 3, 9, 9), 200, dtype=torch.uint8)
    uniforms = torch.tensor([[(OPERATIONS.index("Rotate") + 0.5) / 14, 0.3, 0.9]]).double().expand(4, -1)
    for fill, corner in ((None, [0, 0, 0]), ((1.0, 2.0, 3.0), [1, 2, 3])):
        filled = apply_to(TrivialAugmentWide(fill=fill), images, uniforms)
        assert filled[0, :, 0, 0].tolist() == corner
