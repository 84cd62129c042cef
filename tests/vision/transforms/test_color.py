"""Random colours do to a batch what torchvision does to each of its images."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from stages.vision.transforms.color import ColorJitter, RandomGrayscale
from tests.vision.transforms.samples import assert_near, draw, draw_images, spread_evenly

ADJUST = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", range(4))
def test_color_jitter_changes_one_thing_as_torchvision_does(
    change: int, channels: int, dtype: torch.dtype
) -> None:
    """Brightness, contrast, saturation or hue alone, for bytes and floats, in colour and without."""
    images, draws = draw_images(40, (channels, 9, 11), dtype=dtype), draw(40, 8)
    name = ("brightness", "contrast", "saturation", "hue")[change]
    low, high = (-0.3, 0.5) if name == "hue" else (0.2, 1.9)
    changed = ColorJitter(**{name: (low, high)})(images, draws)
    amounts = low + draws[:, change] * (high - low)
    expected = [ADJUST[change](image, amount) for image, amount in zip(images, amounts.tolist(), strict=True)]
    assert_near(changed, torch.stack(expected))


def test_color_jitter_changes_in_the_order_drawn() -> None:
    """All four follow each other in the order of their numbers, as torchvision's functions do."""
    images, draws = draw_images(60, (3, 9, 11), dtype=torch.float32), draw(60, 8)
    jitter = ColorJitter(brightness=0.5, contrast=(0.4, 1.2), saturation=1.5, hue=0.2)
    lows, highs = [0.5, 0.4, 0.0, -0.2], [1.5, 1.2, 2.5, 0.2]
    expected = []
    for image, numbers in zip(images, draws.tolist(), strict=True):
        for change in sorted(range(4), key=lambda change: numbers[4 + change]):
            amount = lows[change] + numbers[change] * (highs[change] - lows[change])
            image = ADJUST[change](image, amount)
        expected.append(image)
    # A channel that is nearly the largest may count as another colour: the circle's sectors have edges.
    assert ((jitter(images, draws) - torch.stack(expected)).abs() > 1e-4).double().mean() < 1e-3


def test_color_jitter_draws_every_order_evenly() -> None:
    """Each of the 24 orders is as frequent as the others (chi-square)."""
    counts = Counter(tuple(order) for order in draw(4800, 4).argsort(dim=1).tolist())
    assert set(counts) == set(permutations(range(4)))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_color_jitter_of_nothing_changes_nothing() -> None:
    """The defaults are torchvision's None: images stay as they are, to the bit."""
    images = draw_images(10, dtype=torch.float32)
    assert torch.equal(ColorJitter()(images, draw(10, 8)), images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_grayscale_is_that_of_torchvision(channels: int, dtype: torch.dtype) -> None:
    """Images whose draw is below p lose their colour and keep their channels."""
    images = draw_images(20, (channels, 6, 7), dtype=dtype)
    found = RandomGrayscale(p=0.3)(images, spread_evenly(20))
    expected: list[Tensor] = [reference.rgb_to_grayscale(image, channels) for image in images[:6]]
    assert_near(found[:6], torch.stack(expected))
    assert torch.equal(found[6:], images[6:])
