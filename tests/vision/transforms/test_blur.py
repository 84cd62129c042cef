"""Blurring does to a batch what torchvision does to each of its images."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from schemas.vision.transforms import Form
from stages.vision.transforms.blur import GaussianBlur
from tests.vision.transforms.samples import assert_near, draw_images, make_schema, spread_evenly


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, (5, 7), 13])
def test_gaussian_blur_is_that_of_torchvision(
    kernel_size: int | tuple[int, int], channels: int, dtype: torch.dtype
) -> None:
    """Every width of the Gaussian between the limits gives torchvision's pixels."""
    images, draws = draw_images(30, (channels, 8, 11), dtype=dtype), spread_evenly(30)
    blurred = GaussianBlur(kernel_size=kernel_size, sigma=(0.1, 3.0))(images, draws)
    sides = list(kernel_size) if isinstance(kernel_size, tuple) else [kernel_size] * 2
    sigmas = 0.1 + 2.9 * draws[:, 0]
    expected = [
        reference.gaussian_blur(image, sides, [sigma])
        for image, sigma in zip(images, sigmas.tolist(), strict=True)
    ]
    assert_near(blurred, torch.stack(expected))


def test_gaussian_blur_mirrors_no_more_than_there_is() -> None:
    """A window that reaches beyond the mirror image is refused, one that just does not is blurred."""
    assert not list(make_schema("GaussianBlur", kernel_size=[21, 15]).find_problems(Form(8, 11, 3)))
    for kernel_size in ([23, 15], [21, 17]):
        assert list(make_schema("GaussianBlur", kernel_size=kernel_size).find_problems(Form(8, 11, 3)))
    GaussianBlur(kernel_size=(21, 15))(draw_images(2, (3, 8, 11)), spread_evenly(2))
