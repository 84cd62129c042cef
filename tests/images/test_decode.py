"""Bytes become pixels of the wanted form, whatever kind of image they hold."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.shared.manifest import ImageForm, ResizeMode
from stages.images.decode import DEFAULT_LIMITS, Undecodable, decode_image
from stages.images.headers import Damaged
from stages.images.resize import Pixels, resize_image
from stages.params.read import read_params
from tests.images.samples import png_chunk
from tests.images.trees import decode_to_form, encode, flat, form, photograph, picture

ORANGE = (200, 100, 50)
LUMA = 124  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50
MODES: tuple[ResizeMode, ...] = ("squish", "pad", "crop")


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the file Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def color_of(data: bytes, *, gray: bool = False) -> list[int]:
    """Return the colour of an image file of one colour."""
    pixels = decode_to_form(data, form(color="grayscale" if gray else "rgb"))
    colors = np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)
    assert len(colors) == 1
    return [int(value) for value in colors[0]]


# What kinds of image become.


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"])
def test_channels_are_in_rgb_order(kind: str) -> None:
    """Every format gives red first."""
    options = {"lossless": True} if kind == "WEBP" else {}
    assert color_of(save(Image.new("RGB", (8, 8), ORANGE), kind, **options)) == list(ORANGE)


def test_jpeg() -> None:
    """A JPEG of one colour gives it, to the rounding of its colour space."""
    assert color_of(save(Image.new("RGB", (8, 8), ORANGE), "JPEG")) == pytest.approx(ORANGE, abs=2)


def test_gray_image_in_rgb() -> None:
    """A gray image has three equal channels."""
    assert color_of(encode(np.full((8, 8), 90, np.uint8))) == [90, 90, 90]


def test_rgb_image_in_grayscale() -> None:
    """Colour becomes luma by Rec. 601, with one channel."""
    assert color_of(encode(flat(*ORANGE)), gray=True) == [LUMA]


@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_transparency_lies_on_white(alpha: int) -> None:
    """What is transparent shows white, as most viewers do; also in grayscale."""
    data = encode(flat(*ORANGE, alpha))
    expected = [round((value * alpha + 255 * (255 - alpha)) / 255) for value in (*ORANGE, LUMA)]
    assert color_of(data) == pytest.approx(expected[:3], abs=1)
    assert color_of(data, gray=True) == pytest.approx(expected[3:], abs=1)


def test_palette() -> None:
    """Indices become the colours they stand for, a transparent one white."""
    image = Image.new("P", (8, 8), 3)
    image.putpalette([0, 0, 0] * 3 + list(ORANGE))
    assert color_of(save(image, "PNG")) == list(ORANGE)
    assert color_of(save(image, "PNG", transparency=2)) == list(ORANGE)
    assert color_of(save(image, "PNG", transparency=3)) == [255] * 3
    assert color_of(save(image, "GIF"), gray=True) == pytest.approx([LUMA], abs=1)


def test_cmyk() -> None:
    """The four inks of a print JPEG become RGB."""
    data = save(Image.new("RGB", (8, 8), ORANGE).convert("CMYK"), "JPEG")
    assert color_of(data) == pytest.approx(ORANGE, abs=4)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits(suffix: str) -> None:
    """16 bits a channel are divided by 256, which leaves 12-bit data nearly black."""
    assert color_of(encode(np.full((8, 8, 3), 0x80FF, np.uint16), suffix)) == [128] * 3
    assert color_of(encode(np.full((8, 8), 0x0FFF, np.uint16), suffix), gray=True) == [15]


def test_one_bit() -> None:
    """Black and white are 0 and 255."""
    assert color_of(save(Image.new("1", (8, 8), 1), "PNG"), gray=True) == [255]


def test_first_frame_of_an_animation() -> None:
    """Of an animation the first frame is taken."""
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    assert color_of(save(frames[0], "GIF", save_all=True, append_images=frames[1:]), gray=True) == [10]


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
@pytest.mark.parametrize("gray", [False, True])
def test_orientation_is_applied(orientation: int, corner: tuple[int, int], gray: bool) -> None:
    """A photograph stands upright as its EXIF data says: the bright corner is where a viewer shows it."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(Image.fromarray(pixels), "JPEG", exif=exif.tobytes(), quality=100)
    decoded = decode_to_form(data, form(color="grayscale" if gray else "rgb", height_px=2, width_px=2))
    assert divmod(int(decoded[..., 0].argmax()), 2) == corner


# What is no image.


def test_empty_file() -> None:
    """An empty file is called that."""
    with pytest.raises(Undecodable, match=r"^the file is empty$"):
        decode_image(b"", form())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM"])
def test_half_a_file(kind: str) -> None:
    """Half a file is no image in any format, also where `cv2.imread` would give one half gray."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = save(Image.fromarray(pixels), kind)
    with pytest.raises(Undecodable):
        decode_image(data[: len(data) // 2], form())


def flipped_png() -> bytes:
    data = bytearray(picture(height=40, width=40))
    data[len(data) // 2] ^= 255
    return bytes(data)


def test_flipped_byte_in_a_png() -> None:
    """A PNG carries checksums, and they are looked at."""
    with pytest.raises(Undecodable, match="bad header checksum in b'IDAT'"):
        decode_image(flipped_png(), form())


def test_image_that_claims_to_be_enormous() -> None:
    """A header of ten thousand million pixels is refused before memory is asked for."""
    data = bytearray(encode(np.zeros((1, 1), np.uint8), ".pgm"))
    with pytest.raises(Undecodable, match="claims 100,000 x 100,000 pixels, more than"):
        decode_image(bytes(data).replace(b"\n1 1\n", b"\n100000 100000\n"), form())


@settings(deadline=None)
@given(
    st.binary(max_size=60),
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]),
    st.integers(0, 400),
)
def test_any_bytes(junk: bytes, kind: str, position: int) -> None:
    """Whatever is written over a part of a file, it decodes or is refused on one line."""
    data = bytearray(save(Image.new("RGB", (8, 8), ORANGE), kind))
    data[position : position + len(junk)] = junk
    reason = ""
    try:
        assert decode_to_form(bytes(data), form()).shape == (4, 4, 3)
    except Undecodable as error:
        reason = str(error)
    assert reason.isprintable()


def test_limits_without_params_are_those_of_params_yaml() -> None:
    """predict, which has no params.yaml, refuses what the pipeline refuses."""
    dataset = read_params().dataset
    assert (dataset.max_pixels, dataset.max_file_bytes) == (
        DEFAULT_LIMITS.max_pixels,
        DEFAULT_LIMITS.max_file_bytes,
    )


def test_gamma_changes_nothing() -> None:
    """A PNG that states its gamma has the same grays as one that does not."""
    plain = picture(height=8, width=8)
    with_gamma = plain[:33] + png_chunk(b"gAMA", (45455).to_bytes(4, "big")) + plain[33:]
    gray = form(color="grayscale")
    np.testing.assert_array_equal(decode_to_form(with_gamma, gray), decode_to_form(plain, gray))


def test_webp_of_a_few_bytes() -> None:
    """A picture of one colour takes fewer bytes than OpenCV asks for."""
    data = save(Image.new("RGB", (134, 1)), "WEBP", lossless=True, quality=100, method=6)
    assert len(data) < 32
    assert color_of(data) == [0, 0, 0]


# Shapes.

side = st.integers(1, 40)


@given(side, side, side, side, st.sampled_from(MODES), st.sampled_from(["gray", "gray1", "rgb"]))
def test_resized_shape(
    height: int, width: int, height_px: int, width_px: int, mode: ResizeMode, kind: str
) -> None:
    """Any shape becomes (height_px, width_px, channels) uint8, and one colour stays that colour."""
    shape = {"gray": (height, width), "gray1": (height, width, 1), "rgb": (height, width, 3)}[kind]
    wanted = form(
        color="rgb" if kind == "rgb" else "grayscale", height_px=height_px, width_px=width_px, resize=mode
    )
    resized = resize_image(np.full(shape, 77, np.uint8), wanted)
    assert resized.shape == (height_px, width_px, 3 if kind == "rgb" else 1)
    assert resized.dtype == np.uint8
    assert set(np.unique(resized)) <= ({0, 77} if mode == "pad" else {77})
    assert 77 in resized


@given(st.sampled_from(MODES), side, side)
def test_right_shape_is_left_alone(mode: ResizeMode, height: int, width: int) -> None:
    """An image that has the form already keeps every pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = form(height_px=height, width_px=width, resize=mode)
    np.testing.assert_array_equal(resize_image(pixels, wanted), pixels)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("height", "width"), [(1, 1000), (1000, 1), (1, 1)])
@pytest.mark.parametrize(("height_px", "width_px"), [(28, 28), (10, 300), (300, 10), (1, 1)])
def test_odd_shapes(mode: ResizeMode, height: int, width: int, height_px: int, width_px: int) -> None:
    """Strips one pixel wide come out like everything else."""
    data = encode(np.full((height, width, 3), 9, np.uint8))
    decoded = decode_to_form(data, form(height_px=height_px, width_px=width_px, resize=mode))
    assert decoded.shape == (height_px, width_px, 3)
    assert decoded.max() == 9


def test_crop_of_a_long_strip() -> None:
    """The part to cut is found before scaling: 512 * 512 times 100,000 pixels would take 80 GB."""
    strip = np.zeros((1, 100_000, 3), np.uint8)
    strip[0, 49_998:50_002] = 255
    assert resize_image(strip, form(height_px=512, width_px=512, resize="crop")).min() == 255


def halves(first: int, second: int, *, height: int, width: int) -> Pixels:
    """Return a gray image (height, width) whose left half is one value, whose right half another."""
    pixels = np.full((height, width), first, np.uint8)
    pixels[:, width // 2 :] = second
    return pixels


def gray_form(height_px: int, width_px: int, mode: ResizeMode) -> ImageForm:
    return form(color="grayscale", height_px=height_px, width_px=width_px, resize=mode)


def test_squish() -> None:
    """The aspect ratio is ignored: all of the image is there."""
    assert (
        resize_image(halves(10, 200, height=8, width=4), gray_form(2, 2, "squish"))[..., 0].tolist()
        == [[10, 200]] * 2
    )


def test_pad() -> None:
    """Black bars make up for the aspect ratio, the image in their middle."""
    padded = resize_image(halves(10, 200, height=4, width=8), gray_form(4, 4, "pad"))[..., 0]
    assert padded.tolist() == [[0] * 4, [10, 10, 200, 200], [10, 10, 200, 200], [0] * 4]


def test_crop() -> None:
    """What is too long is cut off evenly at both ends."""
    image = np.repeat(np.arange(8, dtype=np.uint8)[None] * 10, 4, axis=0)
    assert resize_image(image, gray_form(4, 4, "crop"))[0, :, 0].tolist() == [20, 30, 40, 50]
    assert resize_image(image.T, gray_form(4, 4, "crop"))[:, 0, 0].tolist() == [20, 30, 40, 50]


def reference_shrink(pixels: Pixels, factor: int) -> npt.NDArray[np.float64]:
    """Return the mean of every block (factor, factor)."""
    height, width = pixels.shape
    blocks = pixels.reshape(height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3)))


@given(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6))
def test_shrinking_averages(factor: int, height: int, width: int) -> None:
    """Where an image shrinks by a whole number, every pixel is the mean of those it stands for."""
    pixels = np.random.default_rng(0).integers(0, 256, (height * factor, width * factor), dtype=np.uint8)
    shrunk = resize_image(pixels, gray_form(height, width, "squish"))[..., 0]
    np.testing.assert_allclose(shrunk, reference_shrink(pixels, factor), atol=1)


def test_shrinking_one_side_averages_while_the_other_grows() -> None:
    """Fine stripes turn gray, not into other stripes; OpenCV alone would pick single rows here."""
    stripes = np.repeat(np.arange(120) % 2 * 255, 2).astype(np.uint8).reshape(120, 2)
    assert set(np.unique(resize_image(stripes, gray_form(10, 8, "squish")))) <= {127, 128}


def test_enlarging_interpolates() -> None:
    """Where an image grows, values stay between those of the neighbours and rise evenly."""
    grown = resize_image(np.array([[0, 200]], np.uint8), gray_form(1, 8, "squish"))[0, :, 0].astype(int)
    assert (np.diff(grown) >= 0).all()
    assert 0 < grown[3] < grown[4] < 200


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tiff", ".bmp"])
def test_a_damaged_file_is_told_from_a_refused_kind(suffix: str) -> None:
    """A worker short of memory tries it again: decoders that get no memory say the same."""
    data = encode(photograph(0), suffix)
    with pytest.raises(Damaged):
        decode_image(data[: len(data) // 2], form())
