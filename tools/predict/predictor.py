"""A checkpoint's network, and its predictions for pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from schemas.vision.checkpoint import Checkpoint
from stages.images.resize import Pixels
from stages.vision.checkpoint import restore_network
from stages.vision.inference import compute_batch_logits, compute_probabilities
from stages.vision.runtime import make_deterministic
from stages.vision.transforms import build_transforms
from tools.predict.prediction_table import ClassProbability, Prediction
from tools.predict.reading import ReadFile


class Predictor:
    """The network with its preprocessing, rebuilt from the checkpoint alone."""

    def __init__(self, checkpoint: Checkpoint, weights: dict[str, Tensor], *, device: torch.device) -> None:
        make_deterministic(checkpoint.numerics)
        self._checkpoint = checkpoint
        self._network: nn.Module = restore_network(checkpoint, weights).to(device).eval()
        self._transform = build_transforms(checkpoint.preprocessing)
        self._device = device

    def compute_probabilities(self, images: Sequence[Pixels]) -> Tensor:
        """Return float64 (N, num_classes) for N images (height, width, channels) of the checkpoint's form."""
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        logits = compute_batch_logits(
            self._network,
            self._transform(pixels, device=self._device),
            device=self._device,
            numerics=self._checkpoint.numerics,
        )
        return compute_probabilities(logits.cpu(), self._checkpoint.calibration)

    def predict(
        self, images: Sequence[Pixels], *, top_k: int, set_threshold: float | None = None
    ) -> list[tuple[list[ClassProbability], list[str] | None]]:
        """Return the most probable classes of each image, and its prediction set.

        Args:
            images: N images (height, width, channels) of the checkpoint's form.
            top_k: How many classes to return, the most probable first; of equals the first.
            set_threshold: Probability from which a class is in the prediction set; None for no sets.
        """
        probabilities = self.compute_probabilities(images)
        ranked, labels = probabilities.sort(dim=1, descending=True, stable=True)
        classes = self._checkpoint.classes
        predictions = []
        for order, row in zip(labels, ranked, strict=True):
            top = zip(order[:top_k].tolist(), row[:top_k].tolist(), strict=True)
            prediction_set = None
            if set_threshold is not None:
                # Never empty: where none is probable enough, the most probable.
                num_classes = max(1, int((row >= set_threshold).sum()))
                prediction_set = [classes[label] for label in order[:num_classes].tolist()]
            predictions.append(([ClassProbability(classes[at], value) for at, value in top], prediction_set))
        return predictions


@dataclass(frozen=True)
class Rule:
    """What is said beside each prediction."""

    threshold: float | None = None
    """Lowest probability that is accepted; None where no accuracy is promised."""

    why_not: str = ""
    """Why a prediction below the threshold is not accepted, or why no accuracy is promised."""

    set_threshold: float | None = None
    """Probability from which a class is in the prediction set; None for no sets."""


def predict_batch(
    predictor: Predictor, files: Sequence[ReadFile], *, top_k: int, rule: Rule
) -> Iterator[Prediction]:
    """Yield a prediction for every file, in order, also for those that have no pixels."""
    images = [file.pixels for file in files if file.pixels is not None]
    predictions = iter(
        predictor.predict(images, top_k=top_k, set_threshold=rule.set_threshold) if images else ()
    )
    for file in files:
        if file.pixels is None:
            yield Prediction(file.name, error=file.reason)
        else:
            top, prediction_set = next(predictions)
            accepted = None if rule.threshold is None else top[0].probability >= rule.threshold
            yield Prediction(
                file.name,
                top=top,
                accepted=accepted,
                reason="" if accepted else rule.why_not,
                prediction_set=prediction_set,
            )
