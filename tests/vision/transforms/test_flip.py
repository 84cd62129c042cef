"""Mirroring does to a batch what torchvision does to each of its images."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from stages.vision.transforms.compose import Compose
from stages.vision.transforms.flip import AlternatingHorizontalFlip, RandomHorizontalFlip, RandomVerticalFlip
from tests.vision.transforms.samples import draw_images, spread_evenly

SHAPES = [(1, 8, 8), (3, 5, 9), (3, 9, 4), (1, 1, 7)]


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


def test_alternating_flips_mirror_every_image_in_every_other_epoch() -> None:
    """The first epoch mirrors about half of the images, the next one all others, and so on."""
    images = draw_images(200, (1, 2, 9))
    alternate = Compose([AlternatingHorizontalFlip()], seed=3)

    def find_mirrored(epoch: int) -> list[bool]:
        changed = alternate(images, samples=np.arange(200), epoch=epoch)
        return [torch.equal(after, before.flip(2)) for after, before in zip(changed, images, strict=True)]

    first, second, third = (find_mirrored(epoch) for epoch in range(3))
    assert 70 < sum(first) < 130
    assert second == [not is_mirrored for is_mirrored in first]
    assert third == first
