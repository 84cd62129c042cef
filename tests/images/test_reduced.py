"""Large JPEGs are decoded at reduced size, and nobody could tell."""

import io

import numpy as np
import pytest
from PIL import Image

from schemas.shared.manifest import ResizeMode
from stages.images.decode import choose_reduction, decode_image
from stages.images.headers import Header
from stages.images.resize import Pixels, resize_image
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
        (375, 500, 64, 2),
        (375, 500, 32, 4),
        (375, 500, 16, 4),
        (1000, 1000, 16, 8),
        (256, 256, 64, 2),
        (255, 256, 64, 2),
        (254, 256, 64, 1),
        (3000, 4000, 224, 4),
        (3000, 4000, 1000, 1),
        (32, 32, 32, 1),
        (500, 501, 16, 4),
        (505, 512, 16, 8),
        (512, 512, 16, 8),
    ],
)
def test_choice(height: int, width: int, side: int, reduction: int) -> None:
    """The smallest at which both sides are still twice the wanted ones, and 64 pixels."""
    header = Header("JPEG", height, width, 6)
    assert choose_reduction(header, form(height_px=side, width_px=side)) == reduction


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("side", "most"), [(224, 0.0), (64, 1.0), (32, 1.6)])
def test_difference(side: int, most: float, mode: ResizeMode, gray: bool) -> None:
    """Photographs of 500 x 375 differ from full decoding by about a grey level of 255, on average."""
    differences = []
    for seed in range(6):
        data = save(scene(375, 500, seed=seed), "JPEG", quality=85)
        reduced, full = both(data, side, gray=gray, mode=mode)
        differences.append(np.abs(reduced.astype(int) - full).mean())
    assert np.mean(differences) <= most


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    """Reduced pictures are turned upright too, and the size is that of the whole upright image."""
    data = save(scene(300, 400), "JPEG", quality=95, exif=exif(orientation))
    reduced, full = both(data, 32)
    assert np.abs(reduced.astype(int) - full).mean() < 2
    decoded = decode_image(data, form(height_px=32, width_px=32))
    assert decoded.pixels.shape[:2] < (300, 300)
    expected = (300, 400) if orientation < 5 else (400, 300)
    assert (decoded.height_px, decoded.width_px) == expected


@pytest.mark.parametrize("kind", ["progressive", "cmyk", "gray"])
def test_kinds(kind: str) -> None:
    """Every kind of JPEG can be reduced."""
    image = Image.fromarray(scene(300, 400))
    mode = {"cmyk": "CMYK", "gray": "L"}.get(kind, "RGB")
    data = save(image.convert(mode), "JPEG", quality=90, progressive=kind == "progressive")
    assert Image.open(io.BytesIO(data)).mode == mode
    reduced, full = both(data, 32)
    assert np.abs(reduced.astype(int) - full).mean() < 1.5
