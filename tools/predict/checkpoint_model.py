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
from stages.vision.inference import compute_batch_logits, compute_probabilities
from stages.vision.pretrained import capture_features, find_heads
from stages.vision.runtime import make_deterministic
from stages.vision.transforms import build_transforms
from tools.predict.model import Outputs


class CheckpointModel:
    """The network with its preprocessing, rebuilt from the checkpoint alone; see `Model`."""

    def __init__(self, checkpoint: Checkpoint, weights: dict[str, Tensor], *, device: torch.device) -> None:
        make_deterministic(checkpoint.numerics)
        self._checkpoint = checkpoint
        self._network: nn.Module = restore_network(checkpoint, weights).to(device).eval()
        self._transform = build_transforms(checkpoint.preprocessing)
        self._device = device

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool = False) -> Outputs:
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with capture_features(self._network) if with_embeddings else nullcontext([]) as captured:
            logits = compute_batch_logits(
                self._network,
                self._transform(pixels, device=self._device),
                device=self._device,
                numerics=self._checkpoint.numerics,
            )
        probabilities = compute_probabilities(logits.cpu(), self._checkpoint.calibration).numpy()
        if not with_embeddings:
            return Outputs(probabilities, None)
        (features,) = captured
        return Outputs(probabilities, features.flatten(1).float().cpu().numpy())

    def check_embeddings(self, place: str) -> None:
        heads = find_heads(self._network)
        if len(heads) > 1:
            raise InputError(
                f"{place}: the network {self._checkpoint.network.name} has {len(heads)} heads "
                f"({', '.join(heads)}), with an input each, so there is no one embedding of an image; "
                "choose a network with one head"
            )
