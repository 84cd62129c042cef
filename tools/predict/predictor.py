"""A checkpoint's network, and its predictions for pixels."""

from collections.abc import Iterator, Sequence

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
            self._transform(pixels),
            device=self._device,
            numerics=self._checkpoint.numerics,
        )
        return compute_probabilities(logits.cpu(), self._checkpoint.calibration)

    def rank(self, images: Sequence[Pixels], *, top_k: int) -> list[list[ClassProbability]]:
        """Return the most probable classes of each image, the most probable first; of equals the first."""
        probabilities = self.compute_probabilities(images)
        ranked, labels = probabilities.sort(dim=1, descending=True, stable=True)
        classes = self._checkpoint.classes
        return [
            [ClassProbability(classes[label], probability) for label, probability in zip(*pair, strict=True)]
            for pair in zip(labels[:, :top_k].tolist(), ranked[:, :top_k].tolist(), strict=True)
        ]


def predict_batch(
    predictor: Predictor, files: Sequence[ReadFile], *, top_k: int, threshold: float
) -> Iterator[Prediction]:
    """Yield a prediction for every file, in order, also for those that have no pixels."""
    images = [file.pixels for file in files if file.pixels is not None]
    ranked = iter(predictor.rank(images, top_k=top_k) if images else ())
    for file in files:
        if file.pixels is None:
            yield Prediction(file.name, error=file.reason)
        else:
            top = next(ranked)
            yield Prediction(file.name, top, is_unknown=top[0].probability < threshold)
