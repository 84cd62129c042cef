"""Predictions in Python, in a notebook or a service: `from tools.predict import load`."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Calibration
from schemas.vision.runtime import Device
from stages.export.rule import CONFIDENCE, TARGET_ACCURACY, choose_rule
from stages.images.resize import resize_image
from stages.images.to_rgb import render_array
from stages.shared.errors import InputError, printable
from tools.predict.model import Model, ModelFile, Outputs
from tools.predict.prediction import Prediction, check_share, predict_batch
from tools.predict.reading import Decoding, ReadFile
from tools.predict.requested_files import Contents, InputFile, NamedFile

Image = str | PathLike[str] | bytes | NDArray[np.uint8]
"""A path, the bytes of a file, or pixels: uint8 (height, width), (height, width, 3) RGB, or (..., 4) RGBA."""


class Classifier:
    """A model that takes pictures of any size. For one thread at a time.

    Files are decoded and resized as ingest did for training, in this process, one after the other. For many,
    or for those of strangers, `python -m tools.predict` is faster and safer: it decodes in processes of their
    own, which end where a file takes too long.
    """

    def __init__(self, file: ModelFile, model: Model) -> None:
        self._file = file
        self._model = model
        self._decoding = Decoding(file.image)

    @property
    def classes(self) -> Sequence[str]:
        """Return the classes, in the order of the probabilities' columns."""
        return self._file.classes

    @property
    def image(self) -> ImageForm:
        """Return the form that pictures are brought to."""
        return self._file.image

    @property
    def calibration(self) -> Calibration:
        """Return what the validation split says of probabilities; see `stages.vision.guarantees`."""
        return self._file.calibration

    def predict(
        self,
        images: Iterable[Image],
        *,
        top_k: int | None = 3,
        target_accuracy: float = TARGET_ACCURACY,
        confidence: float = CONFIDENCE,
        coverage: float | None = None,
    ) -> list[Prediction]:
        """Return a prediction for each image, in order; for one that cannot be read, its `error` says why.

        Args:
            images: Paths, bytes or pixels.
            top_k: How many classes to list, the most probable first; None for all.
            target_accuracy: Of the predictions with `accepted` true, which the validation split must promise;
                0 for no promise.
            confidence: How sure the validation split must be of it.
            coverage: How often `prediction_set` must hold the true class; None for no sets.

        Raises:
            InputError: An argument is not what it may be.
        """
        check_share("target_accuracy", target_accuracy, with_ends=True)
        check_share("confidence", confidence, with_ends=False)
        if coverage is not None:
            check_share("coverage", coverage, with_ends=False)
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k: found {top_k}; allowed: a whole number of at least 1, or None")
        rule = choose_rule(
            self.calibration, target_accuracy=target_accuracy, confidence=confidence, coverage=coverage
        )
        num_classes = min(top_k or len(self.classes), len(self.classes))
        return [
            prediction
            for batch in self._read_batches(images)
            for prediction in predict_batch(self._model, batch, self.classes, top_k=num_classes, rule=rule)[0]
        ]

    def compute_probabilities(self, images: Iterable[Image]) -> NDArray[np.float64]:
        """Return (N, num_classes), rows adding up to 1.

        Raises:
            InputError: An image cannot be read.
        """
        parts = [outputs.probabilities for outputs in self._compute(images, with_embeddings=False)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)))

    def embed(self, images: Iterable[Image]) -> NDArray[np.float32]:
        """Return (N, D): of each image what the network's head is given, its features.

        Raises:
            InputError: An image cannot be read, or the network has several heads.
        """
        self._model.check_embeddings("embed")
        parts = [outputs.embeddings for outputs in self._compute(images, with_embeddings=True)]
        found = [part for part in parts if part is not None]
        return np.concatenate(found) if found else np.empty((0, 0), dtype=np.float32)

    def _compute(self, images: Iterable[Image], *, with_embeddings: bool) -> Iterator[Outputs]:
        for batch in self._read_batches(images):
            pixels = []
            for file in batch:
                if file.pixels is None:
                    raise InputError(f"{file.name or 'the bytes of an image'}: {file.reason}")
                pixels.append(file.pixels)
            yield self._model.compute(pixels, with_embeddings=with_embeddings)

    def _read_batches(self, images: Iterable[Image]) -> Iterator[list[ReadFile]]:
        is_array = isinstance(images, np.ndarray) and images.ndim < 4
        if is_array or isinstance(images, str | bytes | PathLike):
            raise InputError("images: found a single image; allowed: a list of images, if only of one")
        files = (self._read(image, number) for number, image in enumerate(images))
        while batch := list(islice(files, self._file.batch_size)):
            yield batch

    def _read(self, image: Any, number: int) -> ReadFile:
        """Return an image's pixels, or the reason why there are none.

        Raises:
            InputError: It is of no kind that can be an image.
        """
        if isinstance(image, np.ndarray):
            check_array(image, place=f"image {number}")
            pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
            pixels = np.ascontiguousarray(pixels)  # OpenCV takes no view that runs backwards
            rendered = render_array(pixels, gray=self.image.color == "grayscale")
            return ReadFile("", resize_image(rendered, self.image), "")
        if isinstance(image, str | PathLike):
            path = str(Path(image))
            return self._decoding.read(InputFile(printable(path), NamedFile(path)))
        if isinstance(image, bytes):
            return self._decoding.read(InputFile("", Contents(image)))
        raise InputError(
            f"image {number}: found {type(image).__name__}; allowed: a path, the bytes of an image file, or "
            "its pixels as a NumPy array"
        )


def check_array(image: NDArray[Any], *, place: str) -> None:
    """Check that an array can be an image.

    Raises:
        InputError: Its type or its shape says otherwise.
    """
    is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not is_image or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            f"{place}: found {image.dtype} {image.shape}; allowed: uint8 (height, width), "
            "(height, width, 3) in RGB order or (height, width, 4) in RGBA order"
        )


def check_load_options(device: str, threads: int | None) -> None:
    """Check what `tools.predict.load` is given, which a command line checks by itself.

    Raises:
        InputError: It is not what it may be.
    """
    if device not in get_args(Device):
        raise InputError(f"device: found {device}; allowed: {', '.join(get_args(Device))}")
    if threads is not None and threads < 1:
        raise InputError(f"threads: found {threads}; allowed: a whole number of at least 1, or None")
