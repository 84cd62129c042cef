"""Predictions in Python: one object for checkpoints and exported models, for paths, bytes and pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.images.resize import Pixels
from stages.shared.errors import InputError
from tests.images.trees import encode
from tests.tools.predict.models import CLASSES, IMAGE
from tests.vision.torch_state import keep_torch_settings
from tools.predict import load
from tools.predict.classifier import Classifier, Image


@pytest.fixture(scope="module")
def checkpoint(models: Path) -> Classifier:
    with keep_torch_settings():
        return load(models / "net.safetensors", device="cpu")


@pytest.fixture(scope="module")
def exported(models: Path) -> Classifier:
    return load(models / "net.onnx")


def draw_pictures(number: int) -> list[Pixels]:
    """Return RGB pictures of all sizes, smooth enough that the network tells them apart."""
    generator = np.random.default_rng(0)
    return [
        np.asarray(
            cv2.resize(
                generator.integers(0, 256, (3, 3, 3), dtype=np.uint8),
                tuple(generator.integers(5, 60, 2).tolist()),
            ),
            dtype=np.uint8,
        )
        for _ in range(number)
    ]


def test_an_exported_model_predicts_as_its_checkpoint(checkpoint: Classifier, exported: Classifier) -> None:
    """The same classes, probabilities and embeddings to float32's last digits, and sorted the same."""
    pictures = draw_pictures(60)
    expected, found = checkpoint.predict(pictures), exported.predict(pictures)
    assert len({each.predicted for each in expected}) > 1
    assert [each.predicted for each in found] == [each.predicted for each in expected]
    assert [each.accepted for each in found] == [each.accepted for each in expected]
    np.testing.assert_allclose(
        exported.compute_probabilities(pictures), checkpoint.compute_probabilities(pictures), atol=1e-5
    )
    np.testing.assert_allclose(exported.embed(pictures), checkpoint.embed(pictures), rtol=1e-3, atol=1e-4)
    assert exported.embed(pictures).dtype == checkpoint.embed(pictures).dtype == np.float32


@pytest.mark.parametrize("kind", ["checkpoint", "exported"])
def test_a_picture_is_the_same_as_path_bytes_and_pixels(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Also where the pixels have an alpha channel, or are a view that runs backwards."""
    classifier: Classifier = request.getfixturevalue(kind)
    (picture,) = draw_pictures(1)
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture))
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, dtype=np.uint8)])
    backwards = picture[..., ::-1].copy()[..., ::-1]
    images: list[Image] = [path, str(path), path.read_bytes(), picture, opaque, backwards]
    predictions = classifier.predict(images, top_k=None)
    assert [each.path for each in predictions] == [str(path), str(path), "", "", "", ""]
    assert len({tuple(each.top) for each in predictions}) == 1
    assert sorted(each.predicted for each in predictions[0].top) == sorted(CLASSES)


def test_gray_pixels_are_pictures(exported: Classifier) -> None:
    """(height, width) and (height, width, 1), as three equal channels are."""
    gray = draw_pictures(1)[0][..., 0]
    probabilities = exported.compute_probabilities([gray, gray[..., None], np.dstack([gray] * 3)])
    assert (probabilities == probabilities[0]).all()


def test_an_unreadable_image_keeps_its_place(exported: Classifier, tmp_path: Path) -> None:
    """Its `error` says why; arrays, which have no room for that, are refused."""
    (picture,) = draw_pictures(1)
    predictions = exported.predict([b"junk", picture, tmp_path / "none.png"])
    assert [bool(each.error) for each in predictions] == [True, False, True]
    assert predictions[0].error.startswith("is text; supported are JPEG")
    assert predictions[2].error == "there is no such file or folder"
    assert predictions[1].predicted in CLASSES
    with pytest.raises(InputError, match=r"^the bytes of an image: is text; supported"):
        exported.embed([picture, b"junk"])


def test_no_images(checkpoint: Classifier, exported: Classifier) -> None:
    """None in, none out."""
    for classifier in (checkpoint, exported):
        assert classifier.predict([]) == []
        assert classifier.compute_probabilities([]).shape == (0, 3)
        assert len(classifier.embed([])) == 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("a.png", "^images: found a single image; allowed: a list"),
        (b"junk", "^images: found a single image; allowed: a list"),
        (np.zeros((4, 4, 3), np.uint8), "^images: found a single image; allowed: a list"),
        ([np.zeros((4, 4, 3))], r"^image 0: found float64 \(4, 4, 3\); allowed: uint8"),
        ([np.zeros((3, 4, 4), np.uint8)[:, :, :0]], r"^image 0: found uint8 \(3, 4, 0\); allowed: uint8"),
        ([np.zeros((3, 40, 40), np.uint8)], r"^image 0: found uint8 \(3, 40, 40\); allowed: uint8"),
        ([3], "^image 0: found int; allowed: a path, the bytes"),
    ],
)
def test_what_is_no_list_of_images(exported: Classifier, images: object, message: str) -> None:
    """One line says what was found; nothing is taken for a picture that is none."""
    with pytest.raises(InputError, match=message):
        exported.predict(images)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("target_accuracy", 1.5),
        ("confidence", 1.0),
        ("coverage", 0.0),
        ("coverage", float("nan")),
        ("top_k", 0),
    ],
)
def test_options_out_of_range(exported: Classifier, option: str, value: float) -> None:
    """The line names the option, and what is allowed."""
    with pytest.raises(InputError, match=rf"^{option}: found {value:g}; allowed: "):
        exported.predict([], **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["net.safetensors", "net.onnx"])
def test_models_that_cannot_be_loaded_so(models: Path, name: str) -> None:
    """The line names the option, and what is allowed."""
    with pytest.raises(InputError, match=r"^device: found gpu; allowed: auto, cpu, cuda, mps$"):
        load(models / name, device="gpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^threads: found 0; allowed: a whole number of at least 1"):
        load(models / name, threads=0)
    if not torch.cuda.is_available() or name.endswith(".onnx"):
        with pytest.raises(InputError, match=r"^device: found cuda, "):
            load(models / name, device="cuda")


def test_threads_are_those_asked_for(models: Path) -> None:
    """For a checkpoint, in place of those that it was trained with."""
    with keep_torch_settings():
        load(models / "net.safetensors", device="cpu", threads=3)
        assert torch.get_num_threads() == 3
        load(models / "net.safetensors", device="cpu")
        assert torch.get_num_threads() == 1


def test_many_images_are_computed_in_batches(exported: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may come from a generator, and are never all in memory; the predictions are those of one batch."""
    pictures = draw_pictures(10)
    together = exported.compute_probabilities(pictures)
    monkeypatch.setattr("tools.predict.model.ExportedFile.batch_size", 3)
    assert (exported.compute_probabilities(iter(pictures)) == together).all()


def test_forms_are_those_of_the_model(checkpoint: Classifier, exported: Classifier) -> None:
    """What decodes by itself, as a server does, asks for them."""
    for classifier in (checkpoint, exported):
        assert classifier.image == IMAGE
        assert tuple(classifier.classes) == CLASSES
