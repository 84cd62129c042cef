"""What a checkpoint's network looks at in a picture, for the page: Grad-CAM. Needs torch."""

import threading
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.evaluate.gradcam import GradCamUnavailable, compute_heatmaps
from stages.evaluate.report.pictures import outline_heatmap
from stages.images.resize import Pixels
from stages.pages.embedding import embed_image
from stages.vision.checkpoint import parse_weights, restore_network
from stages.vision.transforms import build_transforms, only_form
from tools.predict.model import CheckpointFile

_PICTURE_BYTES = 500_000


class Heatmap(NamedTuple):
    """A picture as the network sees it, and what it looks at there."""

    address: str
    """data: URI of the picture."""

    outline: str
    """SVG path around the hottest regions, the picture being 100 wide and high; empty if nothing is hot."""

    predicted: str
    """The class that is explained."""


class Heatmaps:
    """A network of its own, on the CPU: explaining hooks into it, and must not disturb predictions."""

    def __init__(self, file: CheckpointFile) -> None:
        """Rebuild the network.

        Raises:
            InputError: The file is damaged.
            GradCamUnavailable: The network has no feature map to look at; the message says why.
        """
        checkpoint = file.checkpoint
        self._classes = checkpoint.classes
        self._network = restore_network(checkpoint, parse_weights(file.data, checkpoint, path=file.path))
        self._transform = build_transforms(checkpoint.preprocessing)
        self._geometry = build_transforms(only_form(checkpoint.preprocessing))
        self._lock = threading.Lock()
        form = checkpoint.image
        self.compute(np.zeros((form.height_px, form.width_px, form.num_channels), dtype=np.uint8))

    def compute(self, pixels: Pixels) -> Heatmap:
        """Return what the network looks at, given a picture (height, width, channels) of its form."""
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        with self._lock:
            seen: Tensor = self._geometry(batch, device=torch.device("cpu"))
            images = self._transform(batch, device=torch.device("cpu"))
            with torch.no_grad():
                label = self._network.eval()(images).argmax(dim=1)
            (heat,) = compute_heatmaps(self._network, images, label)
        picture = seen[0].permute(1, 2, 0).numpy()
        return Heatmap(
            embed_image(np.repeat(picture, 3 // picture.shape[2], axis=2), max_bytes=_PICTURE_BYTES),
            outline_heatmap(heat),
            self._classes[int(label)],
        )


__all__ = ["GradCamUnavailable", "Heatmap", "Heatmaps"]
