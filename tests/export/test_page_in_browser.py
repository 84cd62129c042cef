"""The exported page in chromium predicts as tools.predict does with its model, offline and from a file."""

import base64
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import ConfidenceLevel
from schemas.vision.transforms import CenterCrop, Normalize, Resize, ToTensor
from stages.export.onnx_model import read_onnx
from stages.export.web_page import write_page
from stages.images.resize import resize_image
from stages.shared.errors import InputError
from tests.evaluate.chromium import Chromium
from tests.export.browser_page import ask_page, wait_for_model
from tests.images.samples import exif, png, png_chunk, save, scene
from tests.images.trees import encode
from tests.tools.predict.models import export, write_tiny_checkpoint
from tests.vision.documents import CALIBRATION
from tools.predict import load
from tools.predict.classifier import Classifier

FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
IMAGE = ImageForm(color="rgb", height_px=48, width_px=40, resize="crop")
PREPROCESSING = (
    Resize(name="Resize", height_px=36, width_px=34),
    CenterCrop(name="CenterCrop", height_px=32, width_px=32),
    ToTensor(name="ToTensor"),
    Normalize(name="Normalize", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
)
SURE = ConfidenceLevel(probability=0.6, num_images=400, num_correct=400, num_effective=400.0)
"""So that some predictions are accepted and others are not."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with model.onnx and its page."""
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium here; apt-get install chromium brings it")
    folder = tmp_path_factory.mktemp("page")
    calibration = CALIBRATION.model_copy(update={"levels": (SURE,)})
    write_tiny_checkpoint(
        folder / "net.safetensors", image=IMAGE, preprocessing=PREPROCESSING, calibration=calibration
    )
    export(folder / "net.safetensors", folder / "model.onnx")
    try:
        model = folder / "model.onnx"
        write_page(folder / "page.html", model.read_bytes(), read_onnx(model).exported)
    except InputError as error:
        pytest.skip(str(error))  # neither in the cache nor to be had by npm
    (folder / "a.png").write_bytes(encode(scene()))
    (folder / "b.jpg").write_bytes(encode(scene(seed=2), ".jpg"))
    (folder / "text.png").write_bytes(b"<b>no picture</b>")
    return folder


@pytest.fixture(scope="module")
def browser(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = shutil.which("chromium")
    assert program is not None
    with Chromium(program, profile=tmp_path_factory.mktemp("profile"), flags=FLAGS) as browser:
        yield browser


@pytest.fixture
def page(browser: Chromium, folder: Path) -> Iterator[Chromium]:
    """Yield the page, opened as by a double click; it ends without an error, and asks for nothing."""
    browser.errors.clear()
    browser.requests.clear()
    browser.open(folder / "page.html")
    wait_for_model(browser)
    yield browser
    assert browser.errors == []
    own = (folder / "page.html").as_uri()
    assert all(each == own or each.startswith(("blob:null/", "data:")) for each in browser.requests)


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return load(folder / "model.onnx")


def with_profile(kind: str) -> bytes:
    """Return a file whose colour profile would change red and blue, if it were followed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    start, middle, end = re.split(b"rXYZ|bXYZ", profile)
    return save(scene(), kind, icc_profile=start + b"bXYZ" + middle + b"rXYZ" + end)


def with_gamma() -> bytes:
    """Return a PNG whose gamma would darken it, if it were followed."""
    data = encode(scene())
    return data[:33] + png_chunk(b"gAMA", (100_000).to_bytes(4, "big")) + data[33:]


def with_alpha(kind: str, **options: object) -> bytes:
    """Return a file with every degree of transparency."""
    alpha = np.tile((np.arange(96) * 8 // 3).astype(np.uint8), (80, 1))
    return save(np.dstack([scene(), alpha]), kind, **options)


def with_transparent_colour() -> bytes:
    """Return a PNG of a palette in which one colour is transparent."""
    return save(Image.fromarray(scene()).quantize(8), "PNG", transparency=3)


EXACT = {
    "enlarged": encode(scene(20, 30)),
    "as it is": encode(scene(48, 40)),
    "whole factors": encode(scene(144, 120)),
    "halved, smoothed and moved": encode(scene(333, 287)),
    "smoothed": encode(scene(100, 90)),
    "long": encode(scene(40, 700)),
    "gray": encode(scene()[..., 0]),
    "one bit": save(Image.fromarray(scene()).convert("1"), "PNG"),
    "16 bits": encode(scene().astype(np.uint16) * 256 + 200),
    "alpha": with_alpha("PNG"),
    "WebP with alpha": with_alpha("WEBP", lossless=True),
    "gray with alpha": save(Image.fromarray(scene()).convert("LA"), "PNG"),
    "transparent colour": with_transparent_colour(),
    "colour profile": with_profile("PNG"),
    "JPEG with colour profile": with_profile("JPEG"),
    "gamma": with_gamma(),
    "WebP": save(scene(), "WEBP", lossless=True),
    "BMP": save(scene(), "BMP"),
    "GIF": save(Image.fromarray(scene()).quantize(64), "GIF"),
    "JPEG": encode(scene(), ".jpg"),
    "gray JPEG": encode(scene()[..., 0], ".jpg"),
    "turned JPEG": save(scene(), "JPEG", exif=exif(6)),
    "mirrored JPEG": save(scene(), "JPEG", exif=exif(5)),
    "turned PNG": save(scene(), "PNG", exif=exif(6)),
    "progressive JPEG": save(scene(), "JPEG", progressive=True, subsampling=2),
}


def test_it_predicts_as_predict_does(page: Chromium, classifier: Classifier) -> None:
    """Every kind of picture gets the same classes, the same verdict, and probabilities within 1e-4."""
    predictions = classifier.predict(list(EXACT.values()), top_k=None)
    changes = {}
    for (kind, data), expected in zip(EXACT.items(), predictions, strict=True):
        found = ask_page(page, data)
        assert "error" not in found, (kind, found)
        probabilities = {each.predicted: each.probability for each in expected.top}
        changes[kind] = max(abs(value - probabilities[name]) for name, value in found["ranked"])
        assert [name for name, _ in found["ranked"]] == list(probabilities), kind
        assert (found["accepted"], found["reason"]) == (expected.accepted, expected.reason), kind
    assert max(changes.values()) < 1e-4, changes
    assert {each.accepted for each in predictions} == {True, False}


def test_a_large_jpeg_is_averaged_as_it_would_be_decoded(page: Chromium, classifier: Classifier) -> None:
    """Predict decodes it at half its size, the page as a whole; hardly a probability changes."""
    data = encode(scene(1061, 1207), ".jpg")
    (expected,) = classifier.predict([data], top_k=None)
    found = ask_page(page, data)
    probabilities = {each.predicted: each.probability for each in expected.top}
    assert max(abs(value - probabilities[name]) for name, value in found["ranked"]) < 0.01


UNREADABLE = {
    b"": "the file is empty",
    b"no picture": "is no image, is damaged, or of a kind that this browser does not decode",
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>': "is no image, is damaged",
    encode(scene(), ".jpg")[:700]: "is no image, is damaged",
    encode(scene())[:-2000]: "is no image, is damaged",
    png(9000, 9000, bits=1, color=0, rows=bytes(9000 * 1126)): "has 9,000 x 9,000 pixels, more than",
}


def test_what_cannot_be_read_says_why(page: Chromium) -> None:
    """In one line, of half a JPEG or PNG and of what claims too many pixels, too."""
    for data, reason in UNREADABLE.items():
        assert ask_page(page, data)["error"].startswith(reason), data[:20]


def test_resizing_is_that_of_opencv(page: Chromium) -> None:
    """At most one gray level off, in one of a thousand values, for sizes of all kinds."""
    rng = np.random.default_rng(0)
    num_values = num_wrong = 0
    for number in range(60):
        height, width = rng.integers(1, 200, 2).tolist()
        form = ImageForm(
            color="grayscale" if number % 2 else "rgb",
            height_px=int(rng.integers(4, 60)),
            width_px=int(rng.integers(4, 60)),
            resize=("squish", "pad", "crop")[number % 3],
        )
        if number % 5 == 0:
            height, width = 3 * form.height_px, 2 * form.width_px
        pixels = rng.integers(0, 256, (height, width, form.num_channels), dtype=np.uint8)
        expected = resize_image(pixels if form.num_channels == 3 else pixels[..., 0], form)
        image = {"height": height, "width": width, "channels": form.num_channels}
        text = base64.b64encode(pixels.tobytes()).decode()
        values = page.evaluate(
            f"Array.from(resizeImage({{...{json.dumps(image)}, data: Uint8Array.from(atob('{text}'), "
            f"(letter) => letter.charCodeAt(0))}}, {form.model_dump_json()}).data)"
        )
        off = np.abs(np.array(values) - expected.ravel())
        assert off.max() <= 1, (image, form)
        num_values, num_wrong = num_values + len(off), num_wrong + int((off > 0).sum())
    assert num_wrong <= num_values / 1000


@pytest.mark.parametrize(("width_px", "dark"), [(1280, False), (390, True)])
def test_pictures_become_bars(
    page: Chromium, folder: Path, classifier: Classifier, width_px: int, dark: bool
) -> None:
    """By a double click or from a web server, on a phone too; text for what is no picture."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/page.html"
        for place in (address, folder / "page.html"):
            page.open(place, width_px=width_px, dark=dark)
            page.choose("#files", folder / "a.png", folder / "b.jpg", folder / "text.png")
            message = page.wait_for("document.querySelector('#message.wrong')?.innerText", seconds=60)
            assert (
                message == "text.png: is no image, is damaged, or of a kind that this browser does not decode"
            )
            titles = page.evaluate("[...document.querySelectorAll('#results h2')].map(h => h.innerText)")
            predictions = classifier.predict([folder / "b.jpg", folder / "a.png"])
            assert titles == [each.predicted for each in predictions]
            verdicts = page.evaluate("[...document.querySelectorAll('.why')].map(each => each.innerText)")
            assert verdicts == [
                f"not accepted: {each.reason}" if each.reason else "accepted" for each in predictions
            ]
            assert page.evaluate("document.documentElement.scrollWidth") <= width_px
        server.shutdown()
    assert {each for each in page.requests if each.startswith("http")} == {address}
    page.requests[:] = [each for each in page.requests if address[:20] not in each]


def test_pictures_are_pasted_and_dropped(page: Chromium) -> None:
    """As from a screenshot program or a folder."""
    page.evaluate(
        """(async () => {
            const canvas = new OffscreenCanvas(50, 50);
            canvas.getContext("2d").fillRect(0, 0, 25, 50);
            const files = new DataTransfer();
            files.items.add(new File([await canvas.convertToBlob()], "given.png"));
            const paste = new ClipboardEvent("paste", { clipboardData: files, bubbles: true });
            document.body.dispatchEvent(paste);
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true }));
        })()"""
    )
    page.wait_for("document.querySelectorAll('#results > li').length === 2")


def test_it_works_by_keyboard_and_camera(page: Chromium) -> None:
    """Tab leads to the files, then to the camera; Enter opens it and takes the picture."""
    places = []
    for _ in range(2):
        page.press("Tab", code=9)
        places.append(page.evaluate("document.activeElement.id"))
    assert places == ["files", "camera"]
    page.press("Enter", code=13, text="\r")
    page.wait_for("document.activeElement.id === 'shoot'")
    page.press("Enter", code=13, text="\r")
    page.wait_for("document.querySelectorAll('#results > li').length === 1")
    page.click("#close")
    assert page.evaluate("document.querySelector('#view').srcObject === null")


def test_a_browser_that_changes_pixels_is_noticed(page: Chromium) -> None:
    """As some do against fingerprinting: predictions would be wrong, so there are none."""
    message = page.evaluate(
        """(() => {
            const own = CanvasRenderingContext2D.prototype.getImageData;
            CanvasRenderingContext2D.prototype.getImageData = function (...arguments_) {
                const image = own.apply(this, arguments_);
                image.data[400] ^= 1;
                return image;
            };
            try { checkCanvas(); } catch (error) { return error.message; }
        })()"""
    )
    assert message.startswith("this browser changes the pixels that a page reads")


def test_it_may_connect_to_nothing(page: Chromium) -> None:
    """Whatever is asked for, the page's policy forbids it: nothing can be uploaded."""
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'forbidden')") == "forbidden"
    assert any("Content Security Policy" in each for each in page.errors)
    page.errors.clear()
    assert page.requests[-1:] != ["http://127.0.0.1:9/"]
