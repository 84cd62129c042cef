"""TrivialAugment does to a batch what torchvision does to each of its images."""

from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from stages.vision.transforms.trivial_augment import WAYS, TrivialAugmentWide
from tests.vision.transforms.samples import assert_near, draw, draw_images


class Recorded(v2.TrivialAugmentWide):  # type: ignore[misc]
    """torchvision's, which tells what it drew instead of doing it."""

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
@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_that_of_torchvision(way: str, channels: int, interpolation: str) -> None:
    """At every strength, to both sides."""
    images = draw_images(40, (channels, 20, 24))
    images[::3] = images[::3] // 4 + 20  # something for autocontrast and equalize to do
    draws = draw(40, 3)
    draws[:, 0] = (WAYS.index(way) + 0.5) / len(WAYS)
    changed = TrivialAugmentWide(interpolation=interpolation)(images, draws)
    theirs = v2.TrivialAugmentWide(interpolation=interpolation)
    strengths_of, is_signed = theirs._AUGMENTATION_SPACE[way]
    strengths = strengths_of(31, 20, 24)
    expected = []
    for image, numbers in zip(images, draws.tolist(), strict=True):
        strength = 0.0 if strengths is None else float(strengths[int(numbers[1] * 31)])
        strength *= -1 if is_signed and numbers[2] <= 0.5 else 1
        expected.append(
            theirs._apply_image_or_video_transform(
                image, way, strength, interpolation=theirs.interpolation, fill=theirs._fill
            )
        )
    assert_near(changed, torch.stack(expected))
    assert torch.equal(changed, images) == (way == "Identity" or (way == "Color" and channels == 1))


def test_ways_are_drawn_as_torchvision_draws_them() -> None:
    """The same 14 ways, in the same order, each as often as the others (chi-square), as torchvision's are."""
    assert tuple(v2.TrivialAugmentWide._AUGMENTATION_SPACE) == WAYS
    ours = Counter((draw(2800, 3)[:, 0] * len(WAYS)).long().tolist())
    theirs = Recorded()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.draw() for _ in range(2800)]
    names = Counter(way for way, _ in drawn)
    assert (
        stats.chi2_contingency([[ours[place] for place in range(14)], [names[way] for way in WAYS]]).pvalue
        > 1e-3
    )
    is_negative = [strength < 0 for way, strength in drawn if way == "Rotate" and strength]
    assert 0.35 < sum(is_negative) / len(is_negative) < 0.65


def test_corners_are_filled() -> None:
    """fill: a colour where the image is turned away; none: black."""
    images = torch.full((4, 3, 9, 9), 200, dtype=torch.uint8)
    draws = torch.tensor([[(WAYS.index("Rotate") + 0.5) / 14, 0.3, 0.9]]).double().expand(4, -1)
    assert TrivialAugmentWide()(images, draws)[0, :, 0, 0].tolist() == [0, 0, 0]
    assert TrivialAugmentWide(fill=(1.0, 2.0, 3.0))(images, draws)[0, :, 0, 0].tolist() == [1, 2, 3]
