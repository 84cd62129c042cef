"""What is measured of how an image looks, against NumPy and against images made to look so."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest

from stages.images.resize import Pixels
from stages.ingest.appearance import count_levels, measure_appearance
from tests.images.trees import photograph


class Numbers(NamedTuple):
    """What is measured of one image."""

    brightness: float
    dark_end: float
    bright_end: float
    entropy: float
    sharpness: float


def measure(pixels: Pixels) -> Numbers:
    """Return what is measured of one image."""
    return Numbers(*(values.item() for values in measure_appearance(count_levels(pixels)[None])))


def step(*, blur_px: float, side: int = 128) -> Pixels:
    """Return an image half of it dark and half bright, the edge blurred by a Gaussian of that deviation."""
    pixels = np.full((side, side), 40, dtype=np.uint8)
    pixels[:, side // 2 :] = 200
    return pixels if not blur_px else np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur_px), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_levels_are_those_of_numpy(seed: int) -> None:
    """Mean, ends and entropy of the grey levels of a small image."""
    gray = photograph(seed, height=60, width=50)[..., 1]
    found = measure(gray)
    shares = np.unique(gray, return_counts=True)[1] / gray.size
    assert found.brightness == pytest.approx(gray.mean())
    assert found.dark_end == np.quantile(gray, 0.01, method="inverted_cdf")
    assert found.bright_end == np.quantile(gray, 0.99, method="inverted_cdf")
    assert found.entropy == pytest.approx(-(shares * np.log2(shares)).sum(), rel=1e-6)


@pytest.mark.parametrize(("blur_px", "expected"), [(0, 1.0), (1, 0.38), (2, 0.2)])
def test_sharpness_is_the_rise_of_an_edge(blur_px: float, expected: float) -> None:
    """It is what a Gaussian leaves of a step between two pixels: erf(0.5 / (blur * sqrt(2)))."""
    assert measure(step(blur_px=blur_px)).sharpness == pytest.approx(expected, abs=0.03)


def test_sharpness_hardly_depends_on_brightness_and_contrast() -> None:
    """A dim and faint photograph is as sharp as before."""
    pixels = photograph(0, height=200, width=200)
    faint = (pixels * 0.4 + 20).astype(np.uint8)
    expected = measure(pixels).sharpness
    assert measure(faint).sharpness == pytest.approx(expected, abs=0.05)


def test_a_blurred_background_is_not_blur() -> None:
    """A sharp subject in a quarter of the image is enough."""
    tiles = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    pixels = np.kron(tiles, np.ones((8, 8), dtype=np.uint8))
    background = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 8), dtype=np.uint8)
    blurred = measure(background).sharpness
    background[64:192, 64:192] = pixels[64:192, 64:192]
    sharp = measure(pixels).sharpness
    assert measure(background).sharpness > 0.8 * sharp > 1.6 * blurred


def test_the_size_of_a_large_image_hardly_matters() -> None:
    """All are measured at 128 px, so that a reduced decode of a JPEG gives nearly the same."""
    pixels = photograph(0, height=1024, width=1024)
    whole = measure(pixels)
    half = measure(np.asarray(cv2.resize(pixels, (512, 512), interpolation=cv2.INTER_AREA), np.uint8))
    np.testing.assert_allclose(half, whole, rtol=0.05, atol=2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2), (2000, 1)])
def test_tiny_images_and_strips(shape: tuple[int, int]) -> None:
    """Nothing is too small or too thin to be measured."""
    found = measure(np.full(shape, 7, dtype=np.uint8))
    assert found == (7, 7, 7, 0, 0)
