"""What two images are compared by."""

import hashlib

import cv2
import numpy as np
import pytest
import scipy.fft

from stages.images.decode import Decoded
from stages.images.resize import Pixels
from stages.prepare_dataset.fingerprint import (
    FINGERPRINT,
    Fingerprints,
    fingerprint_image,
    stack_fingerprints,
)
from tests.images.trees import decode_whole, encode, flat, photograph, picture


def fingerprint_of(pixels: Pixels, data: bytes = b"") -> bytes:
    return fingerprint_image(data, Decoded(pixels, *pixels.shape[:2]))


def fingerprint(pixels: Pixels, data: bytes = b"") -> Fingerprints:
    """Return the fingerprint of one image."""
    return stack_fingerprints([fingerprint_of(pixels, data)])


def bits_between(left: Fingerprints, right: Fingerprints) -> int:
    return int(np.bitwise_count(left["phash"] ^ right["phash"])[0])


def test_sha256_is_of_the_file() -> None:
    """The bytes count, not the pixels."""
    data = picture()
    row = fingerprint(decode_whole(data), data)
    assert row["sha256"][0].tobytes() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("seed", range(20))
def test_frequencies_are_those_of_scipy(seed: int) -> None:
    """Hash and shape are the lowest frequencies of the cosine transform, as SciPy computes it."""
    gray = photograph(seed, height=32, width=32)[..., 1]
    row = fingerprint(gray)
    expected = scipy.fft.dctn(gray.astype(np.float64), norm="ortho")[:8, :8].ravel()
    expected[0] = 0
    median = np.sort(expected[1:])[31]
    assert row["phash"][0].tobytes() == np.packbits(expected > median).tobytes()
    np.testing.assert_allclose(row["shape"][0], 127 * expected / np.linalg.norm(expected), atol=0.51)


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
    """Compressed anew, resized, dimmed or without colour, a picture keeps all but two bits."""
    assert callable(change)
    pixels = photograph(seed)
    left, right = fingerprint(pixels), fingerprint(change(pixels))
    assert bits_between(left, right) <= 2


def test_other_pictures_are_far() -> None:
    """Of 40 pictures no two are within ten bits."""
    rows = stack_fingerprints([fingerprint_of(photograph(seed)) for seed in range(40)])
    hashes = rows["phash"]
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])[~np.eye(40, dtype=np.bool_)]
    assert distances.min() > 10


@pytest.mark.parametrize("pixels", [flat(0, 0, 0), flat(255)[..., 0], flat(9, 200, 9, height=1, width=1)])
def test_flat_images(pixels: Pixels) -> None:
    """One colour has no frequencies, and is marked."""
    assert fingerprint(pixels)["flat"].all()


def test_noise_of_one_level_is_flat() -> None:
    """A white wall, as a camera sees it, is no picture to compare."""
    noise = np.random.default_rng(0).integers(200, 203, (60, 60), dtype=np.uint8)
    assert fingerprint(noise)["flat"].all()
    assert not fingerprint(photograph(0))["flat"].any()


def test_no_padding() -> None:
    """What is joined from bytes has no gaps."""
    assert FINGERPRINT.itemsize == 32 + 8 + 64 + 1 + 3 * 4
    assert len(fingerprint_of(flat(1, 2, 3))) == FINGERPRINT.itemsize


def test_size_and_deviation() -> None:
    """Height and width are those of the file, the deviation is NumPy's at 32 x 32."""
    row = fingerprint(photograph(3, height=64, width=96))
    assert (row["height_px"][0], row["width_px"][0]) == (64, 96)
    gray = cv2.cvtColor(photograph(3, height=64, width=96), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA)
    assert row["std"][0] == pytest.approx(small.std(), abs=1e-3)
