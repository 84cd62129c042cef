"""Headers are read as Pillow reads them, and memory is what they promise."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from schemas.shared.manifest import Color
from stages.images.decode import DEFAULT_LIMITS, DecodeLimits, Undecodable, decode_image
from stages.images.headers import JPEG, Header, find_brand, read_header, read_orientation
from stages.images.heif import read_heif_header
from stages.images.jpeg import read_jpeg_header
from stages.images.webp import is_webp, read_webp_header
from tests.images.decode_child import decode_apart
from tests.images.samples import exif, insert_segment, png, png_chunk, save, scene, whole_files
from tests.images.trees import decode_whole, form, photograph

WHOLE = whole_files()
TOLERANCE = {"JPEG": 3, "WebP": 6, "TIFF": 5}
"""Grey levels, on average: decoders round, and smooth the colours of a JPEG, in ways of their own."""


def header_of(data: bytes) -> Header:
    if find_brand(data):
        return read_heif_header(data)
    if is_webp(data):
        return read_webp_header(data)
    return read_jpeg_header(data) if data.startswith(JPEG) else read_header(data)


@pytest.mark.parametrize("name", WHOLE)
def test_header(name: str) -> None:
    """The size is Pillow's, whoever reads the header."""
    header, image = header_of(WHOLE[name]), Image.open(io.BytesIO(WHOLE[name]))
    assert (header.width_px, header.height_px) == image.size


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "jpeg ycck"])  # Pillow inverts its inks
def test_pixels(name: str) -> None:
    """The picture is the one that Pillow decodes."""
    image = Image.open(io.BytesIO(WHOLE[name]))
    expected = np.asarray(image.convert("RGB"), dtype=int)
    difference = np.abs(decode_whole(WHOLE[name]) - expected).mean()
    assert difference <= TOLERANCE.get(header_of(WHOLE[name]).format, 0)


def test_ycck() -> None:
    """The colour space of print JPEGs gives the colours that went in."""
    assert np.abs(decode_whole(WHOLE["jpeg ycck"]).astype(int) - scene()).mean() < 3


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
@pytest.mark.parametrize("name", [name for name in WHOLE if name.startswith("jpeg") and "2000" not in name])
def test_jpegs_are_opencvs(name: str, color: Color) -> None:
    """A JPEG's pixels are those of OpenCV, bit for bit: no fast transform, no fast upsampling."""
    expected = cv2.imdecode(np.frombuffer(WHOLE[name], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert expected is not None
    if color == "grayscale":  # as in PNG, from the colours: what is measured must not depend on `color`
        expected = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(decode_whole(WHOLE[name], color), expected)


jpegs = st.builds(
    lambda height, width, options: save(scene(height, width), "JPEG", **options),
    st.integers(1, 70),
    st.integers(1, 70),
    st.fixed_dictionaries(
        {
            "quality": st.integers(1, 100),
            "subsampling": st.sampled_from([0, 1, 2]),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_blocks": st.integers(0, 9),
        }
    ),
)


@settings(deadline=None, max_examples=200)
@given(jpegs)
def test_whole_jpegs_are_taken(data: bytes) -> None:
    """Whatever an encoder's options are, its JPEGs are whole, whatever stands behind their end."""
    image = Image.open(io.BytesIO(data))
    for file in (data, data + data[:20]):
        assert decode_whole(file).shape[1::-1] == image.size


def test_padding_that_pixels_end_with() -> None:
    """A blank picture's null bytes are pixels, also where a harmless warning has it decoded again."""
    blank = save(Image.new("L", (400, 300), 255), "JPEG", optimize=True)
    odd = insert_segment(blank, 0xE2, b"ICC_PROFILE\0\x05\x02" + bytes(40))
    np.testing.assert_array_equal(decode_whole(odd), decode_whole(blank))


def test_orientation_in_broken_exif() -> None:
    """EXIF data that cannot be read leaves an image as it is stored."""
    assert read_orientation(exif(6)) == 6
    assert read_orientation(exif(6)[:-9]) == 1
    assert read_orientation(b"Exif\0\0MM\0*\xff\xff\xff\xf0") == 1
    assert read_orientation(exif(77)) == 1


# Which way up.

CORNERS = np.zeros((16, 24, 3), np.uint8)
CORNERS[:8, :12], CORNERS[:8, 12:], CORNERS[8:, :12] = (250, 0, 0), (0, 250, 0), (0, 0, 250)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"),
        *((kind, mode) for kind in ("PNG", "WEBP", "TIFF") for mode in ("RGB", "RGBA")),
    ],
)
def test_orientation(kind: str, mode: str, orientation: int) -> None:
    """All eight orientations are applied, in every format that has them, with and without alpha."""
    options: dict[str, object] = {"exif": exif(orientation)}
    if kind == "TIFF":
        options = {"tiffinfo": {0x0112: orientation}}
    elif kind == "WEBP":
        options["lossless"] = True
    data = save(Image.fromarray(CORNERS).convert(mode), kind, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"), dtype=int)
    pixels = decode_whole(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 3


# Depth and range.


@pytest.mark.parametrize(
    ("most", "value"), [(100, 50), (255, 128), (1000, 500), (4095, 2048), (65535, 32768)]
)
@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
def test_highest_value_of_a_pnm(kind: bytes, most: int, value: int) -> None:
    """What a PGM or PPM states to be white is white, half of it middle gray."""
    num_samples = 16 * (3 if kind in (b"P3", b"P6") else 1)
    sample = b"%d " % value if kind in (b"P2", b"P3") else struct.pack(">H" if most > 255 else "B", value)
    pixels = decode_whole(kind + b"\n4 4\n%d\n" % most + sample * num_samples)
    assert set(np.unique(pixels)) <= {127, 128}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("gray", [False, True])
def test_alpha_is_blended_as_pillow_does(kind: str, gray: bool) -> None:
    """Half transparent pixels are blended with white, to the rounding."""
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (80, 1))
    image = Image.fromarray(np.dstack([scene(), alpha]))
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    expected = np.asarray(paper.convert("RGB").convert("L" if gray else "RGB"), dtype=int)
    pixels = decode_whole(save(image, kind, **options), "grayscale" if gray else "rgb")
    assert np.abs(pixels - expected).max() <= 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_transparent_gray(bits: int, color: Color) -> None:
    """Of any depth it becomes the white that Pillow shows for the same picture as gray and alpha."""
    levels = np.linspace(0, 2**bits - 1, 16).astype(np.uint16).reshape(2, 8)
    key = levels[0, 1]
    rows = b"".join(b"\0" + _pack(row, bits) for row in levels)
    data = png(8, 2, bits=bits, color=0, rows=rows, extra=png_chunk(b"tRNS", struct.pack(">H", key)))
    gray = (levels.astype(int) * 255 // (2**bits - 1)).astype(np.uint8)
    alpha = np.where(levels == key, 0, 255).astype(np.uint8)
    image = Image.fromarray(np.dstack([gray, alpha]), "LA").convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    expected = np.asarray(paper.convert("RGB" if color == "rgb" else "L"))
    np.testing.assert_array_equal(decode_whole(data, color), expected)


def _pack(values: npt.NDArray[np.uint16], bits: int) -> bytes:
    """Return values of some bits each, the first in the highest bits."""
    if bits == 16:
        return values.astype(">u2").tobytes()
    return np.packbits(np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, -bits:]).tobytes()


@pytest.mark.parametrize("chunk", [b"", b"gAMA", b"sRGB", b"eXIf"])
def test_small_chunks_change_no_gray(chunk: bytes) -> None:
    """A PNG in colour has the same gray levels whatever tool saved it, and Pillow's."""
    pixels = scene()
    body = {b"gAMA": struct.pack(">I", 45455), b"sRGB": b"\0", b"eXIf": exif(1)[6:]}.get(chunk)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    extra = b"" if body is None else png_chunk(chunk, body)
    found = decode_whole(png(pixels.shape[1], pixels.shape[0], rows=rows, extra=extra), "grayscale")
    assert np.abs(found.astype(int) - np.asarray(Image.fromarray(pixels).convert("L"))).max() <= 1


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_animations_are_turned(kind: str) -> None:
    """The first frame of an animation is upright, too."""
    image = Image.fromarray(CORNERS)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = save(image, kind, save_all=True, append_images=[image.rotate(180)], exif=exif(6), **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert expected.shape == (24, 16, 3)
    np.testing.assert_array_equal(decode_whole(data), expected)


def test_first_frame_smaller_than_the_canvas() -> None:
    """A GIF is shown as Pillow shows it: the frame in its place on the canvas."""
    small = save(Image.fromarray(CORNERS).quantize(4), "GIF")
    data = small[:6] + struct.pack("<HH", 40, 30) + small[10:]
    place = data.index(b"\x2c\0\0\0\0") + 1
    data = data[:place] + struct.pack("<HH", 9, 7) + data[place + 4 :]
    pixels = decode_whole(data)
    assert pixels.shape == (30, 40, 3)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_jpeg_2000_in_sycc() -> None:
    """Luma and chroma become the colours they stand for, as Pillow shows them."""
    data = save(Image.fromarray(CORNERS).convert("YCbCr"), "JPEG2000", mct=0)
    assert data[data.index(b"colr") + 10] == 18  # sYCC
    np.testing.assert_array_equal(decode_whole(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_cielab_is_refused_by_name() -> None:
    """Pillow reads it, but does not turn it into RGB."""
    with pytest.raises(Undecodable, match=r"^is an unsupported kind of TIFF: CIELab; save it as PNG$"):
        decode_whole(save(Image.new("LAB", (8, 8)), "TIFF"))


# Limits.


def limited(data: bytes, *, max_pixels: int = 80_000_000, max_file_bytes: int = 10**9) -> None:
    decode_image(data, form(), DecodeLimits(max_pixels, max_file_bytes, max_seconds=5))


def test_too_many_pixels() -> None:
    """An image of as many pixels as allowed is taken, one of more refused."""
    limited(WHOLE["jpeg"], max_pixels=96 * 80)
    with pytest.raises(Undecodable, match=r"^claims 96 x 80 pixels, more than the 7,679 allowed \(max_"):
        limited(WHOLE["jpeg"], max_pixels=96 * 80 - 1)


def test_kinds_that_take_more_memory() -> None:
    """They are refused sooner, in proportion, and the message says so."""
    with pytest.raises(Undecodable, match=r"more than the 3,000 that max_pixels allows of this kind"):
        limited(WHOLE["jpeg 2000"], max_pixels=10_000)


def test_too_many_bytes() -> None:
    """A file of as many bytes as allowed is taken, one of more refused."""
    limited(WHOLE["png"], max_file_bytes=len(WHOLE["png"]))
    with pytest.raises(Undecodable, match=r"more than the 100 allowed \(max_file_bytes\)$"):
        limited(WHOLE["png"], max_file_bytes=100)


def test_large_images_may_take_longer() -> None:
    """In proportion to the memory that the header claims; the limits keep that below 8 times as long."""
    allowed: list[float] = []
    limits = DecodeLimits(80_000_000, 10**9, max_seconds=5)
    large = save(Image.new("L", (8900, 8900)), "PNG")
    for data in (WHOLE["png"], large):
        decode_image(data, form(), limits, allow_seconds=allowed.append)
    assert allowed == [pytest.approx(5 * 79.21 / 10)]
    claim = Header("JPEG 2000", 6500, 4000, bytes_per_pixel=20)
    assert limits.seconds_for(claim) == pytest.approx(5 * 26 / 10 * 20 / 6)


MEMORY: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {}),
    "jpeg progressive": ("JPEG", {"progressive": True, "subsampling": 0}),
    "png": ("PNG", {}),
    "png icc": ("PNG", {"icc_profile": bytes(200)}),
    "png alpha": ("PNG", {}),
    "bmp": ("BMP", {}),
    "webp": ("WEBP", {"method": 0}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff alpha": ("TIFF", {}),
    "jpeg turned": ("JPEG", {"exif": exif(6)}),
    "webp alpha": ("WEBP", {"method": 0}),
    "jpeg 2000": ("JPEG2000", {}),
    "ppm": ("PPM", {}),
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory(name: str) -> None:
    """Decoding takes no more memory for a pixel than the header promises, and the limit counts on."""
    kind, options = MEMORY[name]
    image = Image.fromarray(photograph(height=1500, width=2000))
    mode = {"png alpha": "RGBA", "tiff alpha": "RGBA", "webp alpha": "RGBA", "gif": "L"}.get(name, "RGB")
    data = save(image.convert(mode), kind, **options)
    header = header_of(data)
    small, large = decode_apart([save(image.convert(mode).resize((8, 8)), kind, **options), data])
    # The file itself is held by the child before it starts.
    used = (large.peak_bytes - small.peak_bytes) / (1500 * 2000)
    assert used <= header.bytes_per_pixel + 3.5  # and 10 MB for buffers, and for pickling the answer


def test_the_limits_fit_the_promise() -> None:
    """With the limits that come with darkroom, no worker takes 512 MB for pixels."""
    assert DEFAULT_LIMITS.max_pixels * 6.1 < 512 * 2**20
