"""What is exported and what it is compared with: the checkpoint, the test images, and its predictions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from schemas.export.export import Export
from schemas.shared.manifest import Manifest, SplitName
from schemas.vision.checkpoint import Checkpoint, Scores
from stages.export.parity import Pixels, Reference
from stages.shared.errors import InputError
from stages.shared.files import sha256_of
from stages.shared.paths import MAKE_MODEL, MODEL, PREPARED
from stages.shared.progress import Progress
from stages.vision import scores
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import (
    PreparedImages,
    build_loader,
    number_groups,
    read_index_columns,
    read_manifest,
)
from stages.vision.inference import compute_batch_logits, compute_probabilities
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import build_transforms

_BATCH_SIZE = 256
"""As evaluation.batch_size is by default; another may change the last bits."""

_SMALLEST = 1e-300  # of a probability, so that its logarithm is finite


@dataclass(frozen=True)
class ExportRun:
    """A checkpoint, and its predictions for the test images."""

    checkpoint: Checkpoint
    network: nn.Module
    """On the CPU, in evaluation mode."""

    manifest: Manifest
    images: Reference
    test: Scores
    """Of the checkpoint on the test split."""

    def read_training_images(self, limit: int) -> Pixels:
        """Return so many images of the training split at most, spread evenly, uint8 (n, H, W, C)."""
        images = PreparedImages(PREPARED, self.manifest, "train", limit=limit)
        return _read(images, slice(0, len(images)))


def load_run(section: Export) -> ExportRun:
    """Load the checkpoint that the section names, and run it on the test split as evaluate does.

    Raises:
        InputError: Something is missing or damaged, or the data is not that of the checkpoint.
    """
    manifest = read_manifest(PREPARED)
    checkpoint, weights = read_checkpoint(MODEL / f"{section.checkpoint}.safetensors")
    if checkpoint.dataset_sha256 != sha256_of(PREPARED / "manifest.json"):
        raise InputError(
            f"{PREPARED}: holds other images or another split than the checkpoint was trained on; train "
            f"again with: {MAKE_MODEL}"
        )
    device = choose_device("auto", place="export")
    make_deterministic(checkpoint.numerics)
    network = restore_network(checkpoint, weights).to(device).eval()
    probabilities = _predict(checkpoint, network, manifest, device=device)
    exact = probabilities
    if checkpoint.numerics.precision != "float32":
        numerics = checkpoint.numerics.model_copy(update={"precision": "float32"})
        in_float32 = checkpoint.model_copy(update={"numerics": numerics})
        exact = _predict(in_float32, network, manifest, device=device)
    split: SplitName = "test"
    packed = PreparedImages(PREPARED, manifest, split)
    columns = read_index_columns(PREPARED / "index.csv", rows=packed.rows, names=["path", "group"])
    images = Reference(
        paths=columns["path"],
        labels=packed.labels.numpy(),
        groups=number_groups(columns["group"]),
        classes=checkpoint.classes,
        probabilities=probabilities,
        exact=exact,
        read=lambda block: _read(packed, block),
    )
    return ExportRun(checkpoint, network.cpu(), manifest, images, _score(images))


def _predict(
    checkpoint: Checkpoint, network: nn.Module, manifest: Manifest, *, device: torch.device
) -> npt.NDArray[np.float32]:
    """Return the probabilities of the test images, float32 (N, C)."""
    transform = build_transforms(checkpoint.preprocessing)
    images = PreparedImages(PREPARED, manifest, "test", transform=transform)
    batches = []
    with Progress("export: predicting by the checkpoint", len(images)) as progress:
        for batch, _ in build_loader(images, batch_size=_BATCH_SIZE, device=device):
            logits = compute_batch_logits(network, batch, device=device, numerics=checkpoint.numerics)
            batches.append(compute_probabilities(logits.cpu(), checkpoint.calibration).float().numpy())
            progress.advance(len(batch))
    return np.concatenate(batches)


def _read(images: PreparedImages, block: slice) -> Pixels:
    """Return images as packed, uint8 (n, height, width, channels)."""
    pixels: Pixels = images.__getitems__(range(block.start, block.stop)).images.permute(0, 2, 3, 1).numpy()
    return pixels


def _score(images: Reference) -> Scores:
    predicted, labels = images.predicted, images.labels
    of_label = images.probabilities[np.arange(len(labels)), labels].astype(np.float64)
    tally = scores.tally_confusion(scores.count_confusion(labels, predicted, num_classes=len(images.classes)))
    return Scores(
        loss=float(-np.log(np.maximum(of_label, _SMALLEST)).mean()),
        accuracy=float(scores.accuracy(tally)),
        balanced_accuracy=float(scores.balanced_accuracy(tally)),
        macro_f1=float(scores.macro_f1(tally)),
    )
