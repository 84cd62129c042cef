"""Random erasing does to a batch what torchvision does to each of its images."""

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from stages.vision.transforms.erasing import RandomErasing
from tests.vision.transforms.samples import draw, draw_images


@pytest.mark.parametrize("value", [0.0, -1.5, (0.1, 0.2, 0.3)])
def test_random_erasing_is_that_of_torchvision(value: float | tuple[float, ...]) -> None:
    """The rectangle that is drawn is overwritten with the value, one for all channels or one for each."""
    images, draws = draw_images(40, (3, 12, 9), dtype=torch.float32), draw(40, RandomErasing.num_draws)
    erasing = RandomErasing(p=0.6, value=value)
    windows, _ = erasing.choose_windows(draws, height=12, width=9)
    is_erased = draws[:, -2] < 0.6
    color = torch.tensor(value).view(-1, 1, 1)
    for image, found, window, erased in zip(
        images, erasing(images, draws), windows.tolist(), is_erased, strict=True
    ):
        assert torch.equal(found, reference.erase(image, *window, color) if erased else image)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [(32, 32, (0.02, 0.33), (0.3, 3.3)), (12, 40, (0.3, 0.9), (0.5, 2.0))],
)
def test_random_erasing_draws_as_torchvision_does(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    """Rectangles have torchvision's distribution (Kolmogorov-Smirnov), and are as often none at all."""
    erasing = RandomErasing(scale=scale, ratio=ratio)
    windows, found = erasing.choose_windows(draw(3000, erasing.num_draws), height=height, width=width)
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
    """Random writes normal noise of deviation 1, other noise for every image, the same for the same draws."""
    images = torch.full((200, 3, 20, 20), 50.0)
    draws = draw(200, RandomErasing.num_draws)
    erased = RandomErasing(p=1.0, value="random")(images, draws)
    noise = erased[erased != 50.0]
    assert len(noise) > 10_000
    assert len(set(noise.tolist())) > 0.99 * len(noise)
    assert stats.kstest(noise[:5000].numpy(), "norm").pvalue > 1e-3
    assert torch.equal(RandomErasing(p=1.0, value="random")(images, draws), erased)
