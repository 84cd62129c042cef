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


class CheckpointModel:
    """The network with its preprocessing, rebuilt from the checkpoint alone; see `Model`."""

    def __init__(self, checkpoint: Checkpoint, weights: dict[str, Tensor], *, device: torch.device) -> None:
        make_deterministic(checkpoint.numerics)
        self._checkpoint = checkpoint
        with explain_device_errors("predict", lambda: "free memory there, or use --device cpu"):
            self._network: nn.Module = restore_network(checkpoint, weights).to(device).eval()
        self._transform = build_transforms(checkpoint.preprocessing)
        self._device = device

    def compute(self, images: Sequence[Pixels], *, with_embeddings: bool = False) -> Outputs:
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with (
            explain_device_errors("predict", lambda: f"set --batch-size to less than {len(images)}"),
            capture_embeddings(self._network) if with_embeddings else nullcontext() as captured,
        ):
            logits = compute_batch_logits(
                self._network,
                self._transform(pixels, device=self._device),
                device=self._device,
                numerics=self._checkpoint.numerics,
            )
        probabilities = compute_probabilities(logits.cpu(), self._checkpoint.calibration).numpy()
        embeddings = captured[-1].float().cpu().numpy() if captured else None
        return Outputs(probabilities, embeddings)

    def check_embeddings(self, place: str) -> None:
        with capture_embeddings(self._network) as captured:
            if captured is None:
                raise InputError(explain_no_embeddings(self._checkpoint.network.name, place=place))
