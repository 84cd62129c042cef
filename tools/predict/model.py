"""Model files: what they say of themselves, read without torch, and the network in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.export.exported import ExportedModel
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Calibration, Checkpoint
from schemas.vision.runtime import Device
from schemas.vision.transforms import image_after
from stages.export.onnx_model import OnnxFile, OnnxModel, read_onnx
from stages.images.resize import Pixels
from stages.shared.errors import InputError
from stages.shared.process import limit_spinning
from stages.vision.checkpoint import read_document

_ONNX = b"\x08"
"""The first field of an ONNX file; it has no other mark."""

_OTHERS = {
    b"PK\x03\x04": "is a zip archive, as torch.save and torch.export write, of which darkroom runs none",
    b"\x80": "is a pickle, which is never opened",
    b"\xff\xd8\xff": "is a JPEG image",
    b"\x89PNG": "is a PNG image",
    b"version https://git-lfs": "is what Git LFS left in place of the file; get it by: git lfs pull",
}
"""What is found in place of a model, by its first bytes."""

_PIXELS_PER_BATCH = 2**24
_MAX_BATCH_SIZE = 256


class Outputs(NamedTuple):
    """What a network computes for N images."""

    probabilities: NDArray[np.float64]
    """(N, num_classes), calibrated; rows add up to 1."""

    embeddings: NDArray[np.float32] | None
    """(N, D), what the last layer of the network's head is given; None unless asked for."""


class Model(Protocol):
    """A network with its preprocessing, ready to compute; in one thread at a time.

    An exported model gives an image the same bits in any batch. A checkpoint may give it other last bits in a
    batch of another size: torch adds up in another order.
    """

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool) -> Outputs:
        """Return what the network computes for N images (height, width, channels) of the model's form."""
        ...

    def check_embeddings(self, place: str) -> None:
        """Check that the network has embeddings.

        Raises:
            InputError: It has none, as where there are several heads; the message begins with the place.
        """
        ...


class ModelFile(Protocol):
    """A file that holds a model."""

    @property
    def path(self) -> Path: ...

    @property
    def classes(self) -> Sequence[str]: ...

    @property
    def image(self) -> ImageForm:
        """Return the form that pictures are brought to."""
        ...

    @property
    def calibration(self) -> Calibration: ...

    @property
    def batch_size(self) -> int:
        """Return how many images are computed at a time: no more pixels than 256 images of 256 px have."""
        ...

    def load(self, *, device: Device, place: str, threads: int | None = None) -> Model:
        """Return the model, ready to compute.

        Args:
            device: What computes.
            place: Where that was asked for, for messages.
            threads: How many compute; None for as many as the model was made with.

        Raises:
            InputError: The file is damaged, or the device is not there.
        """
        ...


def open_model(path: Path) -> ModelFile:
    """Read what a model file says of itself: a checkpoint or, by its name or its bytes, an ONNX file.

    Raises:
        InputError: The file is missing, damaged, of another version, or not written by darkroom.
    """
    start = b""
    if path.is_file():  # a pipe may never end
        with path.open("rb") as file:
            start = file.read(256)
    is_checkpoint = path.suffix.lower() == ".safetensors" or start[8:9] == b"{"  # after 8 bytes of length
    if path.suffix.lower() == ".onnx" or (start.startswith(_ONNX) and not is_checkpoint):
        return ExportedFile(read_onnx(path))
    if start and not is_checkpoint:
        raise InputError(
            f"{path}: {_describe_content(start)}; allowed: a checkpoint that train wrote (.safetensors), "
            "or an ONNX file that export wrote (.onnx)"
        )
    return CheckpointFile(path, *read_document(path))


def _describe_content(start: bytes) -> str:
    """Say what a file is that holds no model, as far as its first bytes tell."""
    found = next((content for magic, content in _OTHERS.items() if start.startswith(magic)), None)
    if found is None and start.isascii() and start.decode("ascii").replace("\n", "").isprintable():
        found = "is text"
    return found or "is no model of darkroom"


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that train wrote; see ModelFile."""

    path: Path
    checkpoint: Checkpoint
    data: bytes
    """Of the whole file."""

    @property
    def classes(self) -> Sequence[str]:
        return self.checkpoint.classes

    @property
    def image(self) -> ImageForm:
        return self.checkpoint.image

    @property
    def calibration(self) -> Calibration:
        return self.checkpoint.calibration

    @property
    def batch_size(self) -> int:
        return choose_batch_size(self.image, image_after(self.image, self.checkpoint.preprocessing))

    def load(self, *, device: Device, place: str, threads: int | None = None) -> Model:
        limit_spinning()
        from stages.vision.checkpoint import parse_weights
        from stages.vision.runtime import choose_device
        from tools.predict.checkpoint_model import CheckpointModel

        weights = parse_weights(self.data, self.checkpoint, path=self.path)
        checkpoint = self.checkpoint
        if threads is not None:
            numerics = checkpoint.numerics.model_copy(update={"threads": threads})
            checkpoint = checkpoint.model_copy(update={"numerics": numerics})
        return CheckpointModel(checkpoint, weights, device=choose_device(device, place=place))


@dataclass(frozen=True)
class ExportedFile:
    """An ONNX file that export wrote; see ModelFile."""

    file: OnnxFile

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def exported(self) -> ExportedModel:
        return self.file.exported

    @property
    def classes(self) -> Sequence[str]:
        return self.exported.classes

    @property
    def image(self) -> ImageForm:
        return self.exported.image

    @property
    def calibration(self) -> Calibration:
        return self.exported.calibration

    @property
    def batch_size(self) -> int:
        return choose_batch_size(self.image)

    def load(self, *, device: Device, place: str, threads: int | None = None) -> Model:
        if device not in ("auto", "cpu"):
            raise InputError(
                f"{place}: found {device}, and {self.path} is an exported model, which runs on the CPU; "
                "allowed: auto, cpu; a checkpoint runs on other devices"
            )
        return ExportedNetwork(OnnxModel(self.file, threads=threads))


class ExportedNetwork:
    """What an ONNX file computes; see Model."""

    def __init__(self, network: OnnxModel) -> None:
        self._network = network

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool = False) -> Outputs:
        pixels = np.stack(images)
        if with_embeddings:
            probabilities, embeddings = self._network.compute_with_embeddings(pixels)
            return Outputs(probabilities.astype(np.float64), embeddings)
        return Outputs(self._network.compute_probabilities(pixels).astype(np.float64), None)

    def check_embeddings(self, place: str) -> None:
        exported = self._network.exported
        if exported.num_features is None:
            raise InputError(explain_no_embeddings(exported.network, place=place))


def explain_no_embeddings(network: str, *, place: str) -> str:
    """Say that a network has no embeddings, and why."""
    return (
        f"{place}: the network {network} has several heads, or none with a last layer, so there is no one "
        "embedding of an image; train a network with one head"
    )


def choose_batch_size(*forms: ImageForm) -> int:
    """Return how many images are computed at a time, given all forms that they take on the way."""
    largest = max(form.height_px * form.width_px for form in forms)
    return max(1, min(_MAX_BATCH_SIZE, _PIXELS_PER_BATCH // largest))
