"""HEIC and AVIF: what viewers show of them, what is refused, what is said without the library for HEIC."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from schemas.shared.manifest import Color
from stages.images import hevc
from stages.images.decode import DecodeLimits, Undecodable, decode_image
from stages.images.headers import Damaged, find_brand
from stages.images.resize import Pixels
from stages.ingest.counts import report_undecodable
from stages.params.read import read_params
from tests.images.decode_child import decode_apart
from tests.images.samples import encode_heic, exif, save, scene
from tests.images.trees import decode_whole, form
from tests.prepare_dataset.tables import table_of

LIMITS = DecodeLimits(max_pixels=10_000, max_file_bytes=10**6, max_seconds=5.0)
SCENE = scene()
KINDS = ["HEIF", "AVIF"]


def decode(data: bytes, color: Color = "rgb") -> Pixels:
    return decode_whole(data, color)


def assert_alike(pixels: Pixels, expected: Pixels) -> None:
    """Both codecs lose some of the noise; a picture that is turned or of other colours differs by 50."""
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_decoded(kind: str, color: Color) -> None:
    """The pixels are those that were saved; gray is made of colour by luma."""
    expected = SCENE if color == "rgb" else np.asarray(Image.fromarray(SCENE).convert("L"))
    assert_alike(decode(save(Image.fromarray(SCENE), kind, quality=95), color), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gray_files(kind: str) -> None:
    """A gray picture is gray in both forms."""
    gray = Image.fromarray(SCENE).convert("L")
    data = save(gray, kind, quality=95)
    assert_alike(decode(data, "grayscale"), np.asarray(gray))
    assert_alike(decode(data), np.asarray(gray.convert("RGB")))


@pytest.mark.parametrize("kind", KINDS)
def test_transparency_lies_on_white(kind: str) -> None:
    """As in every other format."""
    data = save(Image.fromarray(np.dstack([SCENE, np.full_like(SCENE[..., :1], 100)])), kind, quality=95)
    assert_alike(decode(data), ((SCENE * 100.0 + 255 * 155) / 255).astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_profiles_are_ignored(kind: str) -> None:
    """A colour profile changes no pixel, a broken one neither."""
    image = Image.fromarray(SCENE)
    np.testing.assert_array_equal(
        decode(save(image, kind, icc_profile=bytes(200))), decode(save(image, kind, icc_profile=b""))
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_once(kind: str, orientation: int) -> None:
    """A picture stands upright: the file's own boxes turn it, and EXIF, which says the same, not again."""
    data = save(Image.fromarray(SCENE), kind, quality=95, exif=exif(orientation))
    turned = (
        Image.fromarray(SCENE).transpose(
            {
                2: Image.Transpose.FLIP_LEFT_RIGHT,
                3: Image.Transpose.ROTATE_180,
                4: Image.Transpose.FLIP_TOP_BOTTOM,
                5: Image.Transpose.TRANSPOSE,
                6: Image.Transpose.ROTATE_270,
                7: Image.Transpose.TRANSVERSE,
                8: Image.Transpose.ROTATE_90,
            }[orientation]
        )
        if orientation > 1
        else Image.fromarray(SCENE)
    )
    decoded = decode_image(data, form(height_px=4096, width_px=4096))
    assert_alike(decoded.pixels, np.asarray(turned))
    assert (decoded.width_px, decoded.height_px) == turned.size


def test_exif_alone_turns_no_heic() -> None:
    """Where EXIF says otherwise than the file's boxes, these count, as the format demands."""
    data = save(Image.fromarray(SCENE), "HEIF", quality=95, exif=exif(1))
    place = data.index(struct.pack("<HHI", 0x0112, 3, 1)) if b"II*" in data else data.index(b"\x01\x12\0\x03")
    wrong = bytearray(data)
    wrong[place + 8 : place + 10] = b"\x06\0" if b"II*" in data else b"\0\x06"
    assert_alike(decode(bytes(wrong)), SCENE)


def test_tiles() -> None:
    """A picture that is put together from tiles, as phones save it, is whole, and cropped to its size."""
    large = scene(200, 330)
    assert_alike(decode(save(Image.fromarray(large), "HEIF", quality=95, tile_size=128)), large)


def test_the_primary_image_of_a_burst() -> None:
    """Of several pictures the one that the file calls its primary; of an animation the first."""
    file = pillow_heif.HeifFile()
    for value in (10, 120, 240):
        file.add_from_pillow(Image.new("RGB", (64, 64), (value,) * 3))
    data = io.BytesIO()
    file.save(data, primary_index=1, quality=95)
    assert decode(data.getvalue()).mean() == pytest.approx(120, abs=4)
    frames = [Image.new("RGB", (64, 64), (value,) * 3) for value in (120, 240)]
    animation = save(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert decode(animation).mean() == pytest.approx(120, abs=4)


def test_ten_bits() -> None:
    """More than 8 bits become 8 by the file's own maximum, whatever depth16 says."""
    data = encode_heic(np.asarray(SCENE.astype(np.uint16) * 257, dtype=np.uint16))
    assert_alike(decode(data), SCENE)
    spread = decode_image(data, form(height_px=4096, width_px=4096, depth16="full_range"))
    np.testing.assert_array_equal(spread.pixels, decode(data))
    assert spread.bits == 8


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header is enough to refuse a large one: nothing is decoded."""
    data = save(Image.new("RGB", (200, 200)), kind)
    monkeypatch.setattr("stages.images.decode._decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(Undecodable, match=r"^claims 200 x 200 pixels, more than the 10,000 allowed"):
        decode_image(data, form(), LIMITS)


def test_kinds_that_take_more_memory() -> None:
    """Colours at full size and more than 8 bits are refused sooner, in proportion."""
    claim = "claims 90 x 90 pixels, more than the"
    decode_image(save(Image.new("RGB", (80, 80)), "HEIF"), form(), LIMITS)
    with pytest.raises(Undecodable, match=rf"^{claim} 4,615 that max_pixels allows of this kind of HEIC"):
        decode_image(save(Image.new("RGB", (90, 90)), "HEIF", chroma=444), form(), LIMITS)
    with pytest.raises(Undecodable, match=rf"^{claim} 3,529 that max_pixels allows of this kind of HEIC"):
        decode_image(encode_heic(np.zeros((90, 90, 3), np.uint16)), form(), LIMITS)


@pytest.mark.parametrize("options", [{}, {"tile_size": 64}])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_cut_off(options: dict[str, int], share: float) -> None:
    """A file that ends too early is called that; libheif shows missing tiles blank."""
    data = save(Image.fromarray(SCENE), "HEIF", **options)
    with pytest.raises(Damaged, match=r"^is cut off: it has [\d,]+ bytes and says"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_cut_off_avif(share: float) -> None:
    """So is an AVIF."""
    data = save(Image.fromarray(SCENE), "AVIF")
    with pytest.raises(Damaged, match=r"^is cut off"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["heic", "tiles", "gray", "ten bits"])
def test_damaged_pixels(kind: str) -> None:
    """A flipped bit in the pixels is found, which libheif passes over."""
    image = Image.fromarray(SCENE)
    data = {
        "heic": lambda: save(image, "HEIF"),
        "tiles": lambda: save(image, "HEIF", tile_size=64),
        "gray": lambda: save(image.convert("L"), "HEIF"),
        "ten bits": lambda: encode_heic(np.asarray(SCENE.astype(np.uint16) * 257, dtype=np.uint16)),
    }[kind]()
    decode(data)
    num_refused = 0
    places = np.linspace(data.index(b"mdat") + 200, len(data) - 50, 20).astype(int)
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 16
        try:
            decode(bytes(flipped))
        except Damaged as error:
            num_refused += "libde265 finds its data out of step" in str(error)
    assert num_refused >= len(places) - 2


def test_another_libheif(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libde265 is not behind it, pictures are read all the same."""
    monkeypatch.setattr(hevc, "_load_library", lambda: None)
    assert_alike(decode(save(Image.fromarray(SCENE), "HEIF", quality=95)), SCENE)


def test_harmless() -> None:
    """Rubbish behind the end does not matter."""
    data = save(Image.fromarray(SCENE), "HEIF")
    np.testing.assert_array_equal(decode(data + b"rubbish behind the end"), decode(data))


def test_bombs() -> None:
    """A small file of many tiles, or one that claims more than it holds, costs no more than others."""

    def claim(data: bytes, width: int, height: int) -> bytes:
        place = data.index(b"ispe") + 8
        return data[:place] + struct.pack(">II", width, height) + data[place + 8 :]

    small = save(Image.fromarray(SCENE), "HEIF")
    outcomes = decode_apart([claim(small, 8000, 8000), claim(small, 8, 8), claim(small, 2**31, 2**31)])
    for outcome in outcomes:
        assert outcome.pixels is None
        assert outcome.seconds < 5
        assert outcome.peak_bytes < 640 * 2**20


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ([b"heic", b"mif1"], "HEIC"),
        ([b"hevx"], "HEIC"),
        ([b"mif1", b"heic"], "HEIC"),
        ([b"mif1", b"avif"], "AVIF"),
        ([b"avis", b"msf1"], "AVIF"),
        ([b"isom", b"avif"], ""),
        ([b"crx "], ""),
    ],
)
def test_brands(brands: list[bytes], kind: str) -> None:
    """The first bytes say which kind a file is; its name does not matter."""
    first, *others = brands
    body = first + bytes(4) + b"".join(others)
    assert find_brand(struct.pack(">I4s", 8 + len(body), b"ftyp") + body) == kind


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the command that installs it, and how DVC then reads the files; AVIF needs none."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    decode(save(Image.fromarray(SCENE), "AVIF"))
    with pytest.raises(Undecodable) as caught:
        decode_image(HEIC, form())
    assert not isinstance(caught.value, Damaged)
    reason = (
        "is a HEIC image, which the optional library pillow-heif reads; "
        "install it with: pip install pillow-heif"
    )
    assert str(caught.value) == reason
    paths = ["cat/1.heic", "cat/2.jpg", "dog/3.heic"]
    table = table_of(paths, status=np.array([1, 0, 1], dtype=np.uint8))
    table = table.with_columns(reason=np.array([reason, "", reason], dtype=object))
    report_undecodable(table, read_params().dataset)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"ingest: left out data/digits.zip/cat/1.heic and 1 more: {reason}"
    assert second.endswith("dvc repro --force ingest && dvc repro")


HEIC = save(Image.fromarray(SCENE), "HEIF")


def test_only_files_that_need_it_load_the_library(tmp_path: Path) -> None:
    """Other images are decoded without it."""
    path = tmp_path / "1.png"
    path.write_bytes(save(Image.fromarray(SCENE), "PNG"))
    code = (
        "import sys; from stages.images.decode import decode_image; "
        "from schemas.shared.manifest import ImageForm; decode_image(open(sys.argv[1], 'rb').read(), "
        "ImageForm(color='rgb', height_px=8, width_px=8, resize='pad')); print('pillow_heif' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
