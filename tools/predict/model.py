"""Model files: what they say of themselves, read without torch, and the network in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Calibration, Checkpoint
from schemas.vision.runtime import Device
from schemas.vision.transforms import image_after
from stages.images.resize import Pixels
from stages.shared.process import limit_spinning
from stages.vision.checkpoint import read_document

_PIXELS_PER_BATCH = 2**24
_MAX_BATCH_SIZE = 256


class Outputs(NamedTuple):
    """What a network computes for N images."""

    probabilities: NDArray[np.float64]
    """(N, num_classes), calibrated; rows add up to 1."""

    embeddings: NDArray[np.float32] | None
    """(N, D), what the network's head is given; None unless asked for."""


class Model(Protocol):
    """A network with its preprocessing, ready to compute; in one thread at a time."""

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool) -> Outputs:
        """Return what the network computes for N images (height, width, channels) of the model's form."""
        ...

    def check_embeddings(self, place: str) -> None:
        """Check that the network has embeddings.

        Raises:
            InputError: It has several heads, with an input each; the message begins with the place.
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
    """Read what a model file says of itself.

    Raises:
        InputError: The file is missing, damaged, of another version, or not written by darkroom.
    """
    return CheckpointFile(path, *read_document(path))


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


def choose_batch_size(*forms: ImageForm) -> int:
    """Return how many images are computed at a time, given all forms that they take on the way."""
    largest = max(form.height_px * form.width_px for form in forms)
    return max(1, min(_MAX_BATCH_SIZE, _PIXELS_PER_BATCH // largest))
