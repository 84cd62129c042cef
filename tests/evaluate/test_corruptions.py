"""Each corruption does what it says."""

import cv2
import numpy as np
import pytest

from stages.evaluate.corruptions import Corruption, Pixels, list_corruptions
from stages.evaluate.predictions import Floats

CORRUPTIONS = list(list_corruptions())


def draw_image(channels: int = 3, *, height: int = 32, width: int = 48) -> Pixels:
    """Return a smooth picture, darkest above and brightest below."""
    rows = np.linspace(40, 180, height)[:, None, None]
    columns = 30 * np.sin(np.arange(width) / 5)[None, :, None]
    shades = np.array([1.0, 0.8, 0.6])[:channels]
    image: Pixels = np.rint((rows + columns) * shades).astype(np.uint8)
    return image


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: f"{each.name}-{each.severity}")
@pytest.mark.parametrize("channels", [1, 3])
def test_corrupted_images_keep_their_form(corruption: Corruption, channels: int) -> None:
    """Pixels stay uint8 of the same shape, differ from those given, and are the same every time."""
    image = draw_image(channels)
    before = image.copy()
    found = corruption.apply(image, sample=3)
    assert (found.dtype.name, found.shape) == ("uint8", image.shape)
    assert found.tolist() != image.tolist()
    assert found.tolist() == corruption.apply(image, sample=3).tolist()
    assert image.tolist() == before.tolist()


def distances(name: str, image: Pixels) -> list[float]:
    """Return the mean change of a pixel at each severity."""
    return [
        float(np.abs(each.apply(image, sample=0).astype(float) - image).mean())
        for each in CORRUPTIONS
        if each.name == name
    ]


@pytest.mark.parametrize("name", sorted({each.name for each in CORRUPTIONS}))
def test_stronger_corruptions_change_more(name: str) -> None:
    """Each severity moves pixels farther than the one below."""
    first, second, third = distances(name, draw_image())
    assert 0 < first < second < third


def test_noise_has_its_deviation() -> None:
    """On gray, noise is normal and independent of the sample beside it."""
    gray = np.full((200, 200, 1), 128, dtype=np.uint8)
    (weakest,) = (each for each in CORRUPTIONS if (each.name, each.severity) == ("noise", 1))
    noise: Floats = weakest.apply(gray, sample=0).astype(np.float64) - 128
    other: Floats = weakest.apply(gray, sample=1).astype(np.float64) - 128
    assert noise.std() == pytest.approx(255 * 0.08, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.5)
    assert np.mean(np.abs(noise) < 255 * 0.08) == pytest.approx(0.6827, abs=0.02)
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02


def test_brightness_keeps_the_hue() -> None:
    """OpenCV finds the same hue and saturation, and more value."""
    image = draw_image()
    (weakest,) = (each for each in CORRUPTIONS if (each.name, each.severity) == ("brightness", 1))
    before, after = (
        cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        for pixels in (image, weakest.apply(image, sample=0))
    )
    np.testing.assert_allclose(after[..., 2], np.minimum(before[..., 2] + 0.1, 1), atol=0.003)
    np.testing.assert_allclose(after[..., 1], before[..., 1], atol=0.025)  # 8 bits
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=5)


def test_contrast_keeps_the_mean() -> None:
    """Pixels move towards the mean of their channel by the fraction that is not kept."""
    image = draw_image()
    (weakest,) = (each for each in CORRUPTIONS if (each.name, each.severity) == ("contrast", 1))
    found = weakest.apply(image, sample=0)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=0.5)
    np.testing.assert_allclose(found.std(axis=(0, 1)), 0.4 * image.std(axis=(0, 1)), rtol=0.02)


def test_colors_stay_in_their_channels() -> None:
    """A red image stays red through JPEG and rotation: channels are RGB throughout."""
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    for corruption in CORRUPTIONS:
        if corruption.name in ("jpeg", "rotation", "blur"):
            found = corruption.apply(red, sample=0)[16, 16].astype(int)
            assert found[0] > 150
            assert max(found[1:]) < 50


def test_one_pixel_is_an_image() -> None:
    """The smallest image passes through all of them."""
    for channels in (1, 3):
        for corruption in CORRUPTIONS:
            image = np.full((1, 1, channels), 90, dtype=np.uint8)
            assert corruption.apply(image, sample=0).shape == image.shape
