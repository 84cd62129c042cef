"""ToTensor, Normalize, RandomErasing, MixUp and CutMix are those of torchvision."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import functional as reference

from stages.vision.transforms.numbers import CutMix, Mixing, MixUp, Normalize, RandomErasing, ToTensor
from tests.vision.transforms.samples import NO_UNIFORMS, draw, draw_images


def test_to_tensor_scales_as_torchvision_does() -> None:
    """All 256 bytes become torchvision's floats, and the bytes stay as they are."""
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    before = images.clone()
    scaled = ToTensor()(images, NO_UNIFORMS)
    assert torch.equal(scaled[0], to_tensor(images[0].permute(1, 2, 0).numpy()))
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize_is_that_of_torchvision(channels: int) -> None:
    """Each channel loses its mean and is divided by its deviation, as floats and as bytes, which stay."""
    images = draw_images(4, (channels, 5, 9))
    before = images.clone()
    mean, std = [0.1, 0.5, 0.9][:channels], [0.3, 0.2, 0.1][:channels]
    expected = reference.normalize(images.float() / 255, mean, std)
    normalize = Normalize(mean=mean, std=std)
    for given in (images, images.float() / 255):
        torch.testing.assert_close(normalize(given, NO_UNIFORMS), expected, rtol=0, atol=3e-6)
    assert torch.equal(images, before)


@pytest.mark.parametrize(("num", "width"), [(1, 3), (2, 17), (64, 33), (33, 224)])
def test_normalize_does_not_depend_on_batch_and_threads(num: int, width: int) -> None:
    """An image gets the same bits alone and in a batch, with one thread and with several."""
    images = draw_images(num, (3, 5, width))
    normalize = Normalize(mean=[0.1, 0.5, 0.9], std=[0.3, 0.2, 0.1])
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = normalize(images, NO_UNIFORMS)
        torch.set_num_threads(1)
        for number in range(num):
            assert torch.equal(normalize(images[number : number + 1], NO_UNIFORMS)[0], together[number])
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.parametrize("value", [0.0, -1.5, (0.1, 0.2, 0.3)])
def test_random_erasing_is_that_of_torchvision(value: float | tuple[float, ...]) -> None:
    """The chosen rectangle is overwritten with the value, one for all channels or one per channel."""
    images, uniforms = draw_images(40, (3, 12, 9), dtype=torch.float32), draw(40, RandomErasing.num_uniforms)
    erasing = RandomErasing(p=0.6, value=value)
    windows, _ = erasing.choose_windows(uniforms, height=12, width=9)
    is_erased = uniforms[:, -2] < 0.6
    color = torch.tensor(value).view(-1, 1, 1)
    for image, found, window, erased in zip(
        images, erasing(images, uniforms), windows.tolist(), is_erased, strict=True
    ):
        assert torch.equal(found, reference.erase(image, *window, color) if erased else image)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [(32, 32, (0.02, 0.33), (0.3, 3.3)), (12, 40, (0.3, 0.9), (0.5, 2.0))],
)
def test_random_erasing_has_torchvisions_distribution(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    """Rectangles have torchvision's distribution (Kolmogorov-Smirnov), and are as often none at all."""
    erasing = RandomErasing(scale=scale, ratio=ratio)
    windows, found = erasing.choose_windows(draw(3000, erasing.num_uniforms), height=height, width=width)
    theirs = v2.RandomErasing(scale=scale, ratio=ratio)
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.make_params([image]) for _ in range(3000)]
    fitting = np.array([[one[key] for key in "ijhw"] for one in drawn if one["v"] is not None])
    for column, other in zip(windows[found].numpy().T, fitting.T, strict=True):
        assert stats.ks_2samp(column, other).pvalue > 1e-3
    assert abs(int(found.sum()) - len(fitting)) < 100


def test_random_erasing_writes_noise() -> None:
    """Standard normal noise, different for every image, and the same for the same random numbers."""
    images = torch.full((200, 3, 20, 20), 50.0)
    uniforms = draw(200, RandomErasing.num_uniforms)
    erased = RandomErasing(p=1.0, value="random")(images, uniforms)
    noise = erased[erased != 50.0]
    assert len(noise) > 10_000
    assert len(set(noise.tolist())) > 0.99 * len(noise)
    assert stats.kstest(noise[:5000].numpy(), "norm").pvalue > 1e-3
    assert torch.equal(RandomErasing(p=1.0, value="random")(images, uniforms), erased)


MIXERS: list[Callable[..., Any]] = [MixUp, CutMix]
LABELS = torch.tensor([0, 1, 2, 1, 3, 0, 2, 3])


def mix(mixer: Any, *, seed: int = 0, epoch: int = 0, step: int = 0) -> tuple[Tensor, Tensor]:
    """Return a batch of 8 that was mixed."""
    mixing = Mixing([mixer], num_classes=4, seed=seed)
    return mixing(draw_images(8, dtype=torch.float32), LABELS, epoch=epoch, step=step)


def test_mix_up_is_that_of_torchvision() -> None:
    """The weight that is drawn gives torchvision's pixels and targets, for the partner one place before."""
    images = draw_images(8, (3, 9, 7), dtype=torch.float32)
    theirs = v2.MixUp(num_classes=4)
    for seed in range(10):
        mixed, share = MixUp()(images, images.roll(1, 0), generator=np.random.default_rng(seed))
        expected = theirs.transform(images, {"lam": share, "labels": LABELS, "batch_size": 8})
        torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-6)


def test_cut_mix_is_that_of_torchvision() -> None:
    """A pasted rectangle is torchvision's for its middle and its share, at the border too."""
    images = draw_images(8, (3, 9, 7), dtype=torch.float32)
    theirs = v2.CutMix(num_classes=4)
    for seed in range(30):
        mixed, share = CutMix()(images, images.roll(1, 0), generator=np.random.default_rng(seed))
        same = np.random.default_rng(seed)
        half = 0.5 * math.sqrt(1 - same.beta(1.0, 1.0))
        row, column = int(same.integers(9)), int(same.integers(7))
        box = (
            max(0, column - int(half * 7)),
            max(0, row - int(half * 9)),
            min(7, column + int(half * 7)),
            min(9, row + int(half * 9)),
        )
        expected = theirs.transform(images, {"box": box, "labels": LABELS, "batch_size": 8})
        assert torch.equal(mixed, expected)
        pasted = (mixed != images).flatten(2).any(dim=1)
        assert share <= 1 - pasted.double().mean(dim=1).max() + 1e-9


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_have_torchvisions_distribution(mixer: Callable[..., Any], alpha: float) -> None:
    """The weights of the first image have torchvision's distribution (Kolmogorov-Smirnov)."""
    images = torch.zeros(2, 1, 32, 32)
    generator = np.random.default_rng(0)
    ours = [mixer(alpha=alpha)(images, images, generator=generator)[1] for _ in range(1500)]
    theirs = getattr(v2, mixer.__name__)(alpha=alpha, num_classes=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.make_params([images]) for _ in range(1500)]
    shares = [one["lam"] if "lam" in one else one["lam_adjusted"] for one in drawn]
    assert stats.ks_2samp(ours, shares).pvalue > 1e-3


@pytest.mark.parametrize("mixer", MIXERS)
def test_targets_are_the_shares_of_the_pictures(mixer: Callable[..., Any]) -> None:
    """Targets are float32, add up to 1, and are those of torchvision for the partner that was drawn."""
    for step in range(20):
        images, targets = mix(mixer(), step=step)
        assert images.shape == (8, 3, 5, 9)
        assert targets.dtype == torch.float32
        assert targets.shape == (8, 4)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
        share = targets[0, 0].item()  # no other label 0 is at least 3 places before, or it is image 5
        fits = [
            torch.allclose(targets, expected, atol=1e-6)
            for shift in range(1, 8)
            for expected in [
                torch.nn.functional.one_hot(LABELS, 4) * share
                + torch.nn.functional.one_hot(LABELS.roll(shift), 4) * (1 - share)
            ]
        ]
        assert any(fits) or share == 1.0


@pytest.mark.parametrize("mixer", MIXERS)
def test_mixing_is_a_function_of_seed_epoch_and_step(mixer: Callable[..., Any]) -> None:
    """The same step mixes the same way again; another seed, epoch or step another way."""
    images, targets = mix(mixer())
    again, same_targets = mix(mixer())
    assert torch.equal(again, images)
    assert torch.equal(same_targets, targets)
    for other in ({"seed": 1}, {"epoch": 1}, {"step": 1}):
        assert not torch.equal(mix(mixer(), **other)[0], images)


def test_every_other_image_becomes_a_partner() -> None:
    """Over many steps the partner stands 1 to N - 1 places before, and is never the image itself."""
    images = torch.arange(4.0)[:, None, None, None].expand(-1, 1, 2, 2)
    mixing = Mixing([MixUp()], num_classes=4, seed=0)
    shifts = set()
    for step in range(60):
        _, targets = mixing(images, torch.arange(4), epoch=0, step=step)
        (partner,) = {place for place in targets[0].nonzero().flatten().tolist() if place} or {0}
        shifts.add((0 - partner) % 4)
    assert shifts == {1, 2, 3}


def test_p_is_the_share_of_mixed_batches() -> None:
    """Half of the batches stay as they are for p: 0.5, all for 0, with the targets of their labels."""
    plain = draw_images(8, dtype=torch.float32)
    unchanged = [torch.equal(mix(MixUp(p=0.5), step=step)[0], plain) for step in range(200)]
    assert 70 < sum(unchanged) < 130
    images, targets = mix(CutMix(p=0.0))
    assert torch.equal(images, plain)
    assert torch.equal(targets, torch.nn.functional.one_hot(LABELS, 4).float())


def test_a_batch_of_one_image_has_no_partner() -> None:
    """The last batch of an epoch may be a single image; it stays as it is."""
    image = draw_images(1, dtype=torch.float32)
    mixed, targets = Mixing([MixUp(), CutMix()], num_classes=2, seed=0)(
        image, torch.tensor([1]), epoch=0, step=0
    )
    assert torch.equal(mixed, image)
    assert targets.tolist() == [[0.0, 1.0]]


def test_both_follow_each_other() -> None:
    """With both in the list, the second mixes what the first made: up to four classes an image."""
    mixing = Mixing([MixUp(), CutMix()], num_classes=4, seed=0)
    targets = [
        mixing(draw_images(4, dtype=torch.float32), torch.arange(4), epoch=0, step=step)[1]
        for step in range(20)
    ]
    assert max(int((one > 0).sum(dim=1).max()) for one in targets) > 2
    for one in targets:
        torch.testing.assert_close(one.sum(dim=1), torch.ones(4))
