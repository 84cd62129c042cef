"""Large JPEGs are decoded at reduced size, and nobody could tell."""

import io

import numpy as np
import pytest
from PIL import Image

from schemas.shared.manifest import Color, ResizeMode
from stages.images.decode import choose_reduction, decode_image
from stages.images.headers import Header
from stages.images.resize import Pixels, resize_image
from stages.ingest.measure import shrink
from tests.images.samples import exif, save, scene
from tests.images.trees import form

MODES: tuple[ResizeMode, ...] = ("squish", "pad", "crop")


def both(data: bytes, side: int, *, gray: bool = False, mode: ResizeMode = "squish") -> tuple[Pixels, Pixels]:
    """Return an image at (side, side), decoded at reduced size where that is done, and at full size."""
    wanted = form(color="grayscale" if gray else "rgb", height_px=side, width_px=side, resize=mode)
    large = wanted.model_copy(update={"height_px": 4096, "width_px": 4096})
    return (
        resize_image(decode_image(data, wanted).pixels, wanted),
        resize_image(decode_image(data, large).pixels, wanted),
    )


@pytest.mark.parametrize(
    ("height", "width", "side", "reduction"),
    [
        (375, 500, 224, 1),
        (375, 500, 16, 1),
        (1000, 1200, 32, 1),
        (1023, 2000, 32, 2),
        (3000, 4000, 32, 4),
        (3000, 4000, 224, 4),
        (3000, 4000, 400, 2),
        (3000, 4000, 1000, 1),
        (4089, 5000, 32, 8),
        (32, 32, 32, 1),
    ],
)
def test_choice(height: int, width: int, side: int, reduction: int) -> None:
    """The smallest at which both sides are still twice the wanted ones, and 512 pixels."""
    header = Header("JPEG", height, width, 6)
    assert choose_reduction(header, form(height_px=side, width_px=side)) == reduction


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_is_measured_depends_on_no_form(color: Color, orientation: int) -> None:
    """At every size, in both colours, an image is measured by the same gray levels."""
    data = save(scene(1100, 1200), "JPEG", quality=85, exif=exif(orientation))
    expected = shrink(decode_image(data, form(height_px=9, width_px=9), is_measured=True).measured)
    for side in (64, 256, 300, 700):
        decoded = decode_image(data, form(color=color, height_px=side, width_px=side), is_measured=True)
        np.testing.assert_array_equal(shrink(decoded.measured), expected)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("side", "most"), [(300, 0.0), (224, 1.0), (64, 1.0), (32, 1.6)])
def test_difference(side: int, most: float, mode: ResizeMode, gray: bool) -> None:
    """Photographs of 1200 x 1100 differ from full decoding by about a grey level of 255, on average."""
    differences = []
    for seed in range(2):
        data = save(scene(1100, 1200, seed=seed), "JPEG", quality=85)
        reduced, full = both(data, side, gray=gray, mode=mode)
        differences.append(np.abs(reduced.astype(int) - full).mean())
    assert np.mean(differences) <= most


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    """Reduced pictures are turned upright too, and the size is that of the whole upright image."""
    data = save(scene(1100, 1200), "JPEG", quality=95, exif=exif(orientation))
    reduced, full = both(data, 32)
    assert np.abs(reduced.astype(int) - full).mean() < 2
    decoded = decode_image(data, form(height_px=32, width_px=32))
    assert decoded.pixels.shape[:2] < (1100, 1100)
    expected = (1100, 1200) if orientation < 5 else (1200, 1100)
    assert (decoded.height_px, decoded.width_px) == expected


@pytest.mark.parametrize("kind", ["progressive", "cmyk", "gray"])
def test_kinds(kind: str) -> None:
    """Every kind of JPEG can be reduced."""
    image = Image.fromarray(scene(1100, 1200))
    mode = {"cmyk": "CMYK", "gray": "L"}.get(kind, "RGB")
    data = save(image.convert(mode), "JPEG", quality=90, progressive=kind == "progressive")
    assert Image.open(io.BytesIO(data)).mode == mode
    reduced, full = both(data, 32)
    assert np.abs(reduced.astype(int) - full).mean() < 1.5
