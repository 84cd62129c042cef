"""Images of more than 8 bits a channel: which grey levels their values become, by dataset.depth16."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from schemas.shared.manifest import Color, Depth16
from stages.images.decode import Decoded, Undecodable, decode_image
from stages.images.resize import Pixels
from tests.images.hostile import tiff
from tests.images.samples import png_chunk, save
from tests.images.trees import encode, form

SPREAD: tuple[Depth16, ...] = ("full_range", "percentile")
RNG = np.random.default_rng(0)
TWELVE_BITS = RNG.integers(100, 4000, (40, 50, 3), dtype=np.uint16)
GRAY = TWELVE_BITS[..., 0]


def decode(data: bytes, depth16: Depth16, color: Color = "grayscale") -> Decoded:
    return decode_image(data, form(color=color, height_px=4096, width_px=4096, depth16=depth16))


def spread(values: npt.ArrayLike, low: float, high: float) -> Pixels:
    """Return what the key's description says, in plain NumPy."""
    levels = (np.asarray(values, dtype=np.float64) - low) * 255 / max(255, high - low)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_high_byte(suffix: str) -> None:
    """The upper 8 bits: 12-bit data in 16 come out nearly black."""
    decoded = decode(encode(GRAY, suffix), "high_byte")
    np.testing.assert_array_equal(decoded.pixels, GRAY >> 8)
    assert decoded.bits == 16


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_full_range(suffix: str) -> None:
    """The lowest value becomes 0 and the highest 255, whatever they are."""
    decoded = decode(encode(GRAY, suffix), "full_range")
    np.testing.assert_array_equal(decoded.pixels, spread(GRAY, GRAY.min(), GRAY.max()))
    assert np.ptp(decoded.pixels) == 255


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_percentile(suffix: str) -> None:
    """0.5 % of the values at either end are beyond 0 and 255."""
    low, high = np.quantile(GRAY, [0.005, 0.995], method="inverted_cdf")
    np.testing.assert_allclose(
        decode(encode(GRAY, suffix), "percentile").pixels, spread(GRAY, low, high), atol=1
    )


def test_hot_pixels() -> None:
    """Two of two thousand pixels blacken full_range, and leave percentile as it was."""
    hot = GRAY.copy()
    hot[3, 5], hot[30, 7] = 65535, 65000
    assert decode(encode(hot), "full_range").pixels.mean() < 10
    without, with_hot = (decode(encode(values), "percentile").pixels.mean() for values in (GRAY, hot))
    assert with_hot == pytest.approx(without, abs=1)


@pytest.mark.parametrize("depth16", SPREAD)
@pytest.mark.parametrize("file", [encode(TWELVE_BITS), encode(TWELVE_BITS, ".tiff")])
def test_colors_are_spread_together(file: bytes, depth16: Depth16) -> None:
    """One range for all channels, so that hues stay; also in grayscale, which is made afterwards."""
    low, high = TWELVE_BITS.min(), TWELVE_BITS.max()
    if depth16 == "percentile":
        low, high = np.quantile(TWELVE_BITS, [0.005, 0.995], method="inverted_cdf")
    expected = spread(TWELVE_BITS, low, high)
    np.testing.assert_allclose(decode(file, depth16, "rgb").pixels, expected, atol=1)
    luma = np.asarray(Image.fromarray(expected).convert("L"))
    np.testing.assert_allclose(decode(file, depth16).pixels.astype(int), luma, atol=2)


@pytest.mark.parametrize("depth16", SPREAD)
def test_noise_is_not_made_a_picture(depth16: Depth16) -> None:
    """A range of less than 255 is moved to 0 and not spread: a blank picture stays blank."""
    noise = 3000 + RNG.integers(0, 8, (40, 50), dtype=np.uint16)
    assert decode(encode(noise), depth16).pixels.max() <= 7


@pytest.mark.parametrize("depth16", SPREAD)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_images_of_eight_bits_stay(kind: str, depth16: Depth16) -> None:
    """The key says nothing of 8 bits, dim as they may be."""
    data = save(Image.fromarray((GRAY >> 7).astype(np.uint8)), kind)
    decoded = decode(data, depth16)
    np.testing.assert_array_equal(decoded.pixels, decode(data, "high_byte").pixels)
    assert decoded.bits == 8


@pytest.mark.parametrize("depth16", SPREAD)
def test_transparency_is_not_spread(depth16: Depth16) -> None:
    """Half of transparency is half, and lies on white."""
    alpha = np.full((40, 50, 1), 0x8000, np.uint16)
    opaque = decode(encode(TWELVE_BITS), depth16, "rgb").pixels
    decoded = decode(encode(np.dstack([TWELVE_BITS, alpha])), depth16, "rgb")
    np.testing.assert_allclose(decoded.pixels, opaque / 2 + 127, atol=2)


def test_a_transparent_gray_does_not_count() -> None:
    """The gray that stands for "nothing here" is white, and no end of the range."""
    marked = GRAY.copy()
    marked[:10] = 65535
    png = encode(marked)
    data = png[:33] + png_chunk(b"tRNS", b"\xff\xff") + png[33:]
    pixels = decode(data, "full_range").pixels
    assert (pixels[:10] == 255).all()
    np.testing.assert_array_equal(pixels[10:], spread(GRAY[10:], GRAY[10:].min(), GRAY[10:].max()))


def test_profiles_do_not_matter() -> None:
    """A colour PNG with a chunk that Pillow reads is spread like the same one without."""
    png = encode(TWELVE_BITS)
    data = png[:33] + png_chunk(b"bKGD", bytes(6)) + png[33:]
    np.testing.assert_array_equal(
        decode(data, "full_range", "rgb").pixels, decode(png, "full_range", "rgb").pixels
    )


def test_orientation() -> None:
    """A TIFF of 16-bit colours is turned upright once."""
    wide = {258: (3, 16), 279: (4, TWELVE_BITS.nbytes), 274: (3, 6)}
    pixels = decode(tiff(TWELVE_BITS, tags=wide), "full_range", "rgb").pixels
    expected = np.rot90(spread(TWELVE_BITS, TWELVE_BITS.min(), TWELVE_BITS.max()), 3)
    np.testing.assert_array_equal(pixels, expected)


def test_kinds_that_cannot_be_spread() -> None:
    """A fourth channel that two decoders take for different things is refused; high_byte takes it."""
    data = tiff(
        np.dstack([TWELVE_BITS, TWELVE_BITS[..., :1]]),
        tags={258: (3, 16), 277: (3, 4), 338: (3, 0), 279: (4, TWELVE_BITS.nbytes // 3 * 4)},
    )
    decode(data, "high_byte")
    with pytest.raises(Undecodable, match=r"dataset.depth16: full_range does not read; save it as PNG"):
        decode(data, "full_range")


@pytest.mark.parametrize("depth16", SPREAD)
def test_damage_is_found(depth16: Depth16) -> None:
    """A damaged TIFF of 16-bit colours is refused as with high_byte."""
    data = encode(TWELVE_BITS, ".tiff")  # LZW
    with pytest.raises(Undecodable, match="is damaged"):
        decode(data[:2000] + bytes(200) + data[2200:], depth16, "rgb")
