"""The page in a browser: it loads nothing from elsewhere, and works by mouse, keyboard, phone and camera."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.shared.manifest import ImageForm
from tests.evaluate.chromium import Chromium
from tests.images.trees import encode, photograph
from tests.tools.predict.models import export, write_tiny_checkpoint
from tests.tools.serve.http import Served, serve

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
IMAGE = ImageForm(color="rgb", height_px=32, width_px=32, resize="squish")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_tiny_checkpoint(folder / "net.safetensors", image=IMAGE)
    export(folder / "net.safetensors", folder / "net.onnx")
    (folder / "a.png").write_bytes(encode(photograph(1)))
    (folder / "b.png").write_bytes(encode(photograph(2)))
    (folder / "broken.png").write_bytes(b"<b>no picture</b>")
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Iterator[Served]:
    with serve("--model", "net.safetensors", folder=folder) as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here; apt-get install chromium brings it")
    profile = tmp_path_factory.mktemp("profile")
    with Chromium(program, profile=profile, flags=FAKE_CAMERA) as browser:
        yield browser


@pytest.fixture(autouse=True)
def no_errors(chromium: Chromium) -> Iterator[None]:
    """Every test of a page ends without an error in it."""
    chromium.errors.clear()
    chromium.requests.clear()
    yield
    assert chromium.errors == []


@pytest.mark.parametrize(("width_px", "dark"), [(1280, False), (390, True)])
def test_pictures_become_bars(
    chromium: Chromium, checkpoint: Served, folder: Path, width_px: int, dark: bool
) -> None:
    """The most probable class as the title, bars of the others, the newest first; nothing from elsewhere."""
    address = f"http://127.0.0.1:{checkpoint.port}/"
    chromium.open(address, width_px=width_px, dark=dark)
    chromium.choose("#files", folder / "a.png", folder / "b.png")
    chromium.wait_for("document.querySelectorAll('#results > li').length === 2")
    titles = chromium.evaluate("[...document.querySelectorAll('#results h2')].map(h => h.innerText)")
    assert set(titles) <= {"ant", "bee", "unknown"}
    assert chromium.evaluate("document.querySelector('#results figcaption').innerText") == "b.png"
    assert chromium.evaluate("document.querySelectorAll('#results > li:first-child .bars li').length") == 3
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width_px
    chromium.wait_for("[...document.images].every(image => image.naturalWidth > 0)")
    assert all(each.startswith((address, "data:", f"blob:{address}"[:-1])) for each in chromium.requests)


def test_a_picture_that_cannot_be_read_says_why(chromium: Chromium, checkpoint: Served, folder: Path) -> None:
    """As text, whatever is in it."""
    chromium.open(f"http://127.0.0.1:{checkpoint.port}/")
    chromium.choose("#files", folder / "broken.png")
    message = chromium.wait_for("document.querySelector('#message.wrong')?.innerText")
    assert message.startswith("broken.png: the picture is ")
    chromium.errors.clear()  # the browser notes every status 422


def test_it_shows_what_the_network_looks_at(chromium: Chromium, checkpoint: Served, folder: Path) -> None:
    """An outline over the picture as the network sees it."""
    chromium.open(f"http://127.0.0.1:{checkpoint.port}/")
    chromium.choose("#files", folder / "a.png")
    chromium.wait_for("!!document.querySelector('#results .explain')")
    chromium.click("#results .explain")
    chromium.wait_for("document.querySelector('#results .explain').innerText.match('Outlined|stands out')")
    assert chromium.evaluate("document.querySelector('#results img').src").startswith("data:image/png")


def test_it_works_by_keyboard(chromium: Chromium, checkpoint: Served) -> None:
    """Tab leads to the files, then to the camera."""
    chromium.open(f"http://127.0.0.1:{checkpoint.port}/")
    places = []
    for _ in range(2):
        chromium.press("Tab", code=9)
        places.append(chromium.evaluate("document.activeElement.id"))
    assert places == ["files", "camera"]


def test_it_takes_pictures_by_the_camera(chromium: Chromium, checkpoint: Served) -> None:
    """A picture is classified, and the camera is off once it is closed."""
    chromium.open(f"http://127.0.0.1:{checkpoint.port}/")
    chromium.click("#camera")
    chromium.wait_for("!document.querySelector('#live').hidden")
    chromium.click("#shoot")
    chromium.wait_for("document.querySelectorAll('#results > li').length === 1")
    assert chromium.evaluate("document.querySelector('#results figcaption').innerText") == "camera.jpg"
    chromium.click("#close")
    assert chromium.evaluate("document.querySelector('#live').hidden")
    assert chromium.evaluate("document.querySelector('#view').srcObject === null")


def test_an_export_is_not_explained_and_a_token_is_asked_for(
    chromium: Chromium, folder: Path, tmp_path: Path
) -> None:
    """Only with the token does the page tell of the model."""
    with serve("--model", str(folder / "net.onnx"), "--token", "s3cret", folder=tmp_path) as server:
        chromium.open(f"http://127.0.0.1:{server.port}/")
        assert chromium.evaluate("document.querySelector('#give').hidden")
        chromium.evaluate("document.querySelector('#token').value = 's3cret'")
        chromium.click("#access button")
        chromium.wait_for("!document.querySelector('#give').hidden")
        chromium.choose("#files", folder / "a.png")
        chromium.wait_for("!!document.querySelector('#results h2')")
        assert chromium.evaluate("document.querySelector('#results .explain').hidden")


def test_the_documents_load_nothing_from_elsewhere(chromium: Chromium, checkpoint: Served) -> None:
    """/docs works without internet."""
    address = f"http://127.0.0.1:{checkpoint.port}/"
    chromium.open(f"{address}docs")
    chromium.wait_for("document.body.innerText.includes('/predict')")
    assert all(each.startswith((address, "data:")) for each in chromium.requests)
