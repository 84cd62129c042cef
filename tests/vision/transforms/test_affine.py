"""Turning, shifting, scaling and shearing do to a batch what torchvision does to each of its images."""

import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from stages.vision.transforms.affine import RandomAffine, RandomRotation
from tests.vision.transforms.samples import LARGEST, draw, draw_images, spread_evenly

SHAPES = [(1, 8, 8), (3, 5, 9), (3, 9, 4), (1, 1, 7)]


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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill", [0.0, 0.7, (0.1, 0.5, 0.9)])
def test_random_rotation_takes_torchvision_s_arguments(
    fill: float | tuple[float, ...], interpolation: str, dtype: torch.dtype
) -> None:
    """A range of angles, a point to turn around, bilinear pixels and a colour for the corners."""
    images, draws = draw_images(30, (3, 12, 9), dtype=dtype), draw(30, 1)
    rotation = RandomRotation(
        degrees=(-20.0, 70.0), interpolation=interpolation, center=(2.0, 3.0), fill=fill
    )
    for image, found, number in zip(images, rotation(images, draws), draws[:, 0].tolist(), strict=True):
        expected = reference.rotate(
            image,
            -20 + 90 * number,
            interpolation=InterpolationMode(interpolation),
            center=[2.0, 3.0],
            fill=list(fill) if isinstance(fill, tuple) else fill,
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(3, 20, 27), (1, 9, 9)])
def test_random_affine_is_that_of_torchvision(
    shape: tuple[int, int, int], interpolation: str, dtype: torch.dtype
) -> None:
    """Angle, shift, factor and shear that are drawn give torchvision's pixels, bit for bit."""
    images, draws = draw_images(40, shape, dtype=dtype), draw(40, RandomAffine.num_draws)
    affine = RandomAffine(
        degrees=(-40.0, 70.0),
        translate=(0.1, 0.2),
        scale=(0.7, 1.3),
        shear=(-10.0, 10.0, -5.0, 5.0),
        interpolation=interpolation,
        fill=0.3,
    )
    for image, found, numbers in zip(images, affine(images, draws), draws.tolist(), strict=True):
        across, down = (
            (2 * number - 1) * most for number, most in zip(numbers[1:3], (0.1, 0.2), strict=True)
        )
        expected = reference.affine(
            image,
            angle=-40 + 110 * numbers[0],
            translate=[round(across * shape[2]), round(down * shape[1])],
            scale=0.7 + 0.6 * numbers[3],
            shear=[-10 + 20 * numbers[4], -5 + 10 * numbers[5]],
            interpolation=InterpolationMode(interpolation),
            fill=0.3,
        )
        assert torch.equal(found, expected)


def test_random_affine_does_what_is_asked_for_only() -> None:
    """Without shift, factor and shear it turns alone, clockwise; with a shift alone it moves whole pixels."""
    images, draws = draw_images(20, (3, 9, 9)), draw(20, 6)
    turned = RandomAffine(degrees=50.0)(images, draws)
    assert torch.equal(turned, RandomRotation(degrees=50.0)(images, 1 - draws[:, :1]))
    shifted = RandomAffine(degrees=0.0, translate=(0.0, 0.5))(images, draws)
    for image, found, number in zip(images, shifted, draws[:, 2].tolist(), strict=True):
        rows = round((2 * number - 1) * 4.5)
        expected = torch.zeros_like(image)
        expected[:, max(0, rows) : 9 + min(0, rows)] = image[:, max(0, -rows) : 9 - max(0, rows)]
        assert torch.equal(found, expected)


def test_random_affine_draws_as_torchvision_does() -> None:
    """A shift by whole pixels has torchvision's distribution, the half steps at its ends among them."""
    images = torch.zeros(4000, 1, 1, 11, dtype=torch.uint8)
    images[:, :, :, 5] = 1
    moved = RandomAffine(degrees=0.0, translate=(0.3, 0.0))(images, draw(4000, 6))
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
