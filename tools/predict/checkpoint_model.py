"""A checkpoint's network: pixels in, probabilities and embeddings out."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from schemas.vision.checkpoint import Checkpoint
from stages.images.resize import Pixels
from stages.shared.errors import InputError
from stages.vision.checkpoint import restore_network
from stages.vision.embeddings import capture_embeddings
from stages.vision.inference import compute_batch_logits, compute_probabilities
from stages.vision.runtime import explain_device_errors, make_deterministic
from stages.vision.transforms import build_transforms
from tools.predict.model import Outputs, explain_no_embeddings

_GROUP_SIZE_ON_CPU, _GROUP_SIZE_ELSEWHERE = 1, 64
"""Images that a network is given at a time, always so many: in a batch of another size, and on a CPU even at
another place in one of the same size, an image may get other last bits (decision 057). A GPU computes 64 in
little more time than one."""

_LESS_MEMORY = "end what else uses it, or use another --device"


class CheckpointModel:
    """The network with its preprocessing, rebuilt from the checkpoint alone; see `Model`."""

    def __init__(self, checkpoint: Checkpoint, weights: dict[str, Tensor], *, device: torch.device) -> None:
        make_deterministic(checkpoint.numerics)
        self._checkpoint = checkpoint
        with explain_device_errors("predict", lambda: _LESS_MEMORY):
            self._network: nn.Module = restore_network(checkpoint, weights).to(device).eval()
        self._transform = build_transforms(checkpoint.preprocessing)
        self._device = device
        self._group_size = _GROUP_SIZE_ON_CPU if device.type == "cpu" else _GROUP_SIZE_ELSEWHERE

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool = False) -> Outputs:
        parts = [
            self._compute_group(images[start : start + self._group_size], with_embeddings=with_embeddings)
            for start in range(0, len(images), self._group_size)
        ]
        embeddings = [part.embeddings for part in parts if part.embeddings is not None]
        return Outputs(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate(embeddings) if embeddings else None,
        )

    def _compute_group(self, images: Sequence[Pixels], *, with_embeddings: bool) -> Outputs:
        """Return what the network computes for one group, filled up by repeating its first image."""
        filled = [*images, *(self._group_size - len(images)) * [images[0]]]
        pixels = torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2)
        with (
            explain_device_errors("predict", lambda: _LESS_MEMORY),
            capture_embeddings(self._network) if with_embeddings else nullcontext() as captured,
        ):
            logits = compute_batch_logits(
                self._network,
                self._transform(pixels, device=self._device),
                device=self._device,
                numerics=self._checkpoint.numerics,
            )
        probabilities = compute_probabilities(logits.cpu(), self._checkpoint.calibration).numpy()
        embeddings = captured[-1][: len(images)].float().cpu().numpy() if captured else None
        return Outputs(probabilities[: len(images)], embeddings)

    def check_embeddings(self, place: str) -> None:
        with capture_embeddings(self._network) as captured:
            if captured is None:
                raise InputError(explain_no_embeddings(self._checkpoint.network.name, place=place))
