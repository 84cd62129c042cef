"""Transfer learning: which part of the network an epoch trains, at which rate, on what."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from schemas.train.transfer import Transfer
from stages.train.loop import Batches, Training
from stages.vision.dataset import Samples, build_loader
from stages.vision.head import (
    FrozenBackbone,
    HeadOnFeatures,
    capture_features,
    find_head,
    set_backbone_trainable,
)
from stages.vision.inference import answer_batch


def build_parameter_groups(network: nn.Module, transfer: Transfer, *, lr: float) -> list[dict[str, Any]]:
    """Return the parameters as torch's optimizers take them, the head first, each part with its rate."""
    of_head = list(find_head(network).parameters())
    known = set(of_head)
    of_backbone = [parameter for parameter in network.parameters() if parameter not in known]
    groups = ((of_head, transfer.head_lr_factor), (of_backbone, transfer.backbone_lr_factor))
    return [{"params": parameters, "lr": lr * factor} for parameters, factor in groups if parameters]


def is_frozen(transfer: Transfer, *, epoch: int) -> bool:
    """Return whether the backbone keeps its weights in an epoch, counted from 0."""
    after = transfer.unfreeze_after_epochs
    return transfer.freeze == "backbone" and (after == "never" or epoch < after)


class Phases:
    """What a run trains from epoch to epoch: a function of epoch and weights, so it needs no state."""

    def __init__(
        self, training: Training, network: nn.Module, transfer: Transfer, *, folder: Path | None
    ) -> None:
        """Prepare the phases of a run.

        Args:
            training: The run, training the whole network.
            network: All of it.
            transfer: What is frozen.
            folder: Where features may be kept, or None if they differ from epoch to epoch, as they do under
                random transforms.
        """
        self._whole = training
        self._network = network
        self._transfer = transfer
        self._folder = folder
        self._frozen: Training | None = None

    def at(self, epoch: int) -> Training:
        """Return what an epoch, counted from 0, trains."""
        frozen = is_frozen(self._transfer, epoch=epoch)
        set_backbone_trainable(self._network, not frozen)
        if not frozen:
            self._frozen = None  # gives the features' disk space back
            return self._whole
        if self._frozen is None:
            self._frozen = self._freeze()
        return self._frozen

    def _freeze(self) -> Training:
        if self._folder is None:
            return replace(self._whole, network=FrozenBackbone(self._network), is_compiled=False)
        return train_on_features(self._whole, self._network, folder=self._folder)


def train_on_features(training: Training, network: nn.Module, *, folder: Path) -> Training:
    """Compute the features of all images once, and return the run that trains the head on them.

    Its steps draw and compute what those of FrozenBackbone do, up to the rounding of other batch sizes.
    """
    train_features = FeatureFile(training, training.train_images, network, folder=folder)
    val_features = FeatureFile(training, training.val_images, network, folder=folder)
    return replace(
        training,
        network=HeadOnFeatures(network, feature_shape=train_features.feature_shape),
        train_batches=build_loader(
            train_features, batch_size=training.batch_size, sampler=training.train_order
        ),
        val_batches=build_loader(val_features, batch_size=training.batch_size),
        is_compiled=False,  # a head alone has little to gain
    )


class FeatureFile(Dataset[tuple[Tensor, Tensor]]):
    """The features float32 (N, values, 1, 1) of a split, and its labels.

    They stand in a nameless file, so that memory stays flat. The two sides of one let them pass for images.
    """

    def __init__(
        self, training: Training, images: Dataset[tuple[Tensor, Tensor]], network: nn.Module, *, folder: Path
    ) -> None:
        batches: Batches = build_loader(images, batch_size=training.batch_size)
        labels = []
        # The file has no name, and is gone with the map of it, even after a kill.
        with tempfile.TemporaryFile(dir=folder) as file:
            for features, batch_labels in compute_features(training, network, batches):
                self.feature_shape = tuple(features.shape[1:])
                file.write(features.numpy().tobytes())
                labels.append(batch_labels)
            file.flush()
            self._labels = torch.cat(labels)
            self._features: npt.NDArray[np.float32] = np.memmap(
                file,
                dtype=np.float32,
                mode="r",
                shape=(len(self._labels), math.prod(self.feature_shape), 1, 1),
            )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> Samples:
        """Return the samples at these indices; DataLoader calls it once a batch."""
        return Samples(torch.from_numpy(self._features[indices]), self._labels[indices])


def compute_features(
    training: Training, network: nn.Module, batches: Batches
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what the head gets for every batch, float32 on the processor, and the labels (N,)."""
    network.eval()
    for images, labels in batches:
        with capture_features(network) as captured:
            answer_batch(network, images, device=training.device, numerics=training.numerics)
        (features,) = captured
        # The features of a single image come twice: answer_batch has no batches of one.
        yield features.float().cpu()[: len(images)].contiguous(), labels
