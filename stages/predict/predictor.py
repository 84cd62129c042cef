"""A checkpoint's network, and its answers for pixels."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from schemas.vision.checkpoint import Checkpoint
from stages.images.resize import Pixels
from stages.predict.tables import Guess
from stages.vision.calibration import compute_probabilities
from stages.vision.checkpoint import restore_network
from stages.vision.inference import answer_batch
from stages.vision.runtime import make_deterministic
from stages.vision.transforms import build_transforms


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
        logits = answer_batch(
            self._network,
            self._transform(pixels),
            device=self._device,
            numerics=self._checkpoint.numerics,
        )
        return compute_probabilities(logits.cpu(), self._checkpoint.calibration)

    def rank(self, images: Sequence[Pixels], *, top_k: int) -> list[list[Guess]]:
        """Return the most probable classes of each image, the most probable first; of equals the first."""
        probabilities = self.compute_probabilities(images)
        ranked, positions = probabilities.sort(dim=1, descending=True, stable=True)
        classes = self._checkpoint.classes
        return [
            [Guess(classes[place], probability) for place, probability in zip(*of_image, strict=True)]
            for of_image in zip(positions[:, :top_k].tolist(), ranked[:, :top_k].tolist(), strict=True)
        ]
