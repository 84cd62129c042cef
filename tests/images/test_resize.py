"""Pixels brought to another size keep what they show."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.images.resize import Pixels, resize_image
from tests.images.trees import flat, form

sides = st.integers(1, 60)


def rough(seed: int, *, height: int, width: int) -> Pixels:
    """Return pixels (height, width, 3) with detail of every size."""
    generator = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), dtype=np.float32)
    for cells in (3, 9, 27, 81):
        coarse = generator.normal(size=(cells, cells, 3)).astype(np.float32)
        smooth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        canvas += (smooth / cells**0.8).astype(np.float32)
    return np.asarray(np.clip(canvas / canvas.std() * 45 + 120, 0, 255), dtype=np.uint8)


def squish(pixels: Pixels, height: int, width: int) -> Pixels:
    return resize_image(pixels, form(height_px=height, width_px=width))


@given(sides, sides, sides, sides, st.integers(0, 255))
def test_one_colour_stays(height: int, width: int, new_height: int, new_width: int, value: int) -> None:
    """However it is scaled, an image of one colour is of that colour, to the last level."""
    pixels = flat(value, 255 - value, 7, height=height, width=width)
    resized = squish(pixels, new_height, new_width)
    assert resized.shape == (new_height, new_width, 3)
    assert (resized == (value, 255 - value, 7)).all()


@pytest.mark.parametrize("factor", [1.05, 1.3, 1.7, 2.0, 2.2, 2.5, 2.7, 3.1, 4.3, 5.9, 7.7, 11.3])
def test_smoothing_is_near_averaging(factor: float) -> None:
    """Where it stands for averaging by area, the mean difference is below one and a half grey levels."""
    differences = []
    for seed in range(5):
        pixels = rough(seed, height=300, width=400)
        size = (round(400 / factor), round(300 / factor))
        averaged = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(int)
        differences.append(np.abs(squish(pixels, size[1], size[0]).astype(int) - averaged).mean())
    assert np.mean(differences) < 1.5


@pytest.mark.parametrize("factor", [1.5, 2.0, 2.5, 2.7, 4.5, 5.1, 7.3])
def test_no_moire(factor: float) -> None:
    """Stripes finer than the new pixels leave no stronger patterns than averaging by area does."""
    pixels = np.zeros((240, 240, 3), dtype=np.uint8)
    pixels[:, ::2] = 255
    side = round(240 / factor)
    averaged = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    assert squish(pixels, side, side)[4:-4, 4:-4].std() <= 1.3 * averaged.std()


@given(st.integers(21, 120), st.sampled_from([5, 7, 8]), st.booleans())
def test_nothing_is_stretched(width: int, new_width: int, is_upright: bool) -> None:
    """A slope stays where it is, whatever was left over when the image was halved."""
    slope = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (width, width, 3)).astype(np.uint8)
    pixels = np.ascontiguousarray(slope.swapaxes(0, 1) if is_upright else slope)
    averaged = cv2.resize(pixels.astype(np.float32), (new_width, new_width), interpolation=cv2.INTER_AREA)
    differences = np.abs(squish(pixels, new_width, new_width) - averaged)
    assert differences[1:-1, 1:-1].max() <= 2


@pytest.mark.parametrize(("height", "width"), [(20, 90), (90, 20), (300, 10)])
def test_one_side_shrinks_and_one_grows(height: int, width: int) -> None:
    """Both happen, and the mean brightness stays."""
    pixels = rough(1, height=height, width=width)
    resized = squish(pixels, 40, 40)
    assert resized.shape == (40, 40, 3)
    assert abs(resized.mean() - pixels.mean()) < 3


def test_same_size_is_the_same() -> None:
    """What has the size already is not touched."""
    pixels = rough(2, height=31, width=17)
    np.testing.assert_array_equal(squish(pixels, 31, 17), pixels)
