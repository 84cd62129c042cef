"""What is measured of an image does not depend on machine, batch or compression."""

import cv2
import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

from stages.images.resize import Pixels
from stages.ingest.appearance import count_levels
from stages.ingest.measure import FEATURES, Features, measure_images, shrink, sum_channels
from tests.images.trees import decode_whole, encode, flat, photograph


def measure(*images: Pixels) -> Features:
    """Return the features of images that are all in colour, or all gray."""
    sides = [(image.shape[0], image.shape[1]) for image in images]
    small = np.stack([shrink(image) for image in images])
    histograms = np.stack([count_levels(image) for image in images])
    return measure_images(small, sides, small.reshape(len(images), 32, 32, -1), histograms)


def bits_between(left: Features, right: Features) -> int:
    return int(np.bitwise_count(left["phash"] ^ right["phash"])[0])


@pytest.mark.parametrize("seed", range(20))
def test_frequencies_are_those_of_scipy(seed: int) -> None:
    """Hash and shape are the lowest frequencies of the cosine transform, as SciPy computes it."""
    gray = photograph(seed, height=32, width=32)[..., 1]
    row = measure(gray)
    expected = scipy.fft.dctn(gray.astype(np.float64), norm="ortho")[:8, :8].ravel()
    expected[0] = 0
    median = np.sort(expected[1:])[31]
    assert row["phash"][0].tobytes() == np.packbits(expected > median).tobytes()
    np.testing.assert_allclose(row["frequencies"][0], 127 * expected / np.linalg.norm(expected), atol=0.51)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: decode_whole(encode(pixels, ".jpg")),
        lambda pixels: decode_whole(encode(pixels, ".webp")),
        lambda pixels: cv2.resize(pixels, (60, 90), interpolation=cv2.INTER_AREA),
        lambda pixels: (pixels * 0.8 + 20).astype(np.uint8),
        lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY),
    ],
    ids=["jpeg", "webp", "resized", "brightness", "gray"],
)
def test_what_looks_alike_is_near(change: object, seed: int) -> None:
    """Compressed again, resized, dimmed or without colour, a picture keeps all but two bits."""
    assert callable(change)
    pixels = photograph(seed)
    left, right = measure(pixels), measure(change(pixels))
    assert bits_between(left, right) <= 2


def test_other_pictures_are_far() -> None:
    """Of 40 pictures no two are within ten bits."""
    rows = measure(*(photograph(seed) for seed in range(40)))
    hashes = rows["phash"]
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])[~np.eye(40, dtype=np.bool_)]
    assert distances.min() > 10


@pytest.mark.parametrize("pixels", [flat(0, 0, 0), flat(255)[..., 0], flat(9, 200, 9, height=1, width=1)])
def test_flat_images(pixels: Pixels) -> None:
    """One colour has no frequencies, and is marked."""
    assert measure(pixels)["is_flat"].all()


def test_noise_of_one_level_is_flat() -> None:
    """A white wall, as a camera sees it, is no picture to compare."""
    noise = np.random.default_rng(0).integers(200, 203, (60, 60), dtype=np.uint8)
    assert measure(noise)["is_flat"].all()
    assert not measure(photograph(0))["is_flat"].any()


def test_no_padding() -> None:
    """What is joined from bytes has no gaps."""
    assert FEATURES.itemsize == 8 + 1 + 6 * 4 + 3 * 1 + 64 + 6 * 8
    assert measure(flat(1, 2, 3)).nbytes == FEATURES.itemsize


@pytest.mark.parametrize("number", [1, 2, 7, 300])
def test_other_images_change_nothing(number: int) -> None:
    """An image has the same features to the last bit beside any number of others."""
    images = [photograph(seed, height=40, width=50) for seed in range(number)]
    together = measure(*images)
    assert together.tobytes() == b"".join(measure(image).tobytes() for image in images)


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_sums_are_exact(num_images: int, height: int, width: int, channels: int) -> None:
    """They are NumPy's in integers."""
    shape = (num_images, height, width, channels)
    images = np.random.default_rng(height * width).integers(0, 256, shape, dtype=np.uint8)
    sums, squares = sum_channels(images)
    whole = images.astype(np.int64)
    np.testing.assert_array_equal(sums, whole.sum(axis=(1, 2)))
    np.testing.assert_array_equal(squares, (whole**2).sum(axis=(1, 2)))


@pytest.mark.parametrize("value", [0, 1, 254, 255])
def test_sums_of_the_largest_image(value: int) -> None:
    """Nothing overflows or is rounded, not for one pixel that differs either."""
    image = np.full((1, 4096, 4096, 1), value, dtype=np.uint8)
    image[0, 0, 0, 0] = 7
    sums, squares = sum_channels(image)
    assert sums.tolist() == [[value * (4096**2 - 1) + 7]]
    assert squares.tolist() == [[value**2 * (4096**2 - 1) + 49]]


def test_size_and_deviation() -> None:
    """Height and width are those of the file, the deviation is NumPy's at 32 x 32."""
    row = measure(photograph(3, height=64, width=96))
    assert (row["height_px"][0], row["width_px"][0]) == (64, 96)
    gray = cv2.cvtColor(photograph(3, height=64, width=96), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA)
    assert row["std"][0] == pytest.approx(small.std(), abs=1e-5)
