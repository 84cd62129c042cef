"""Transfer learning: which part of the network an epoch trains, at which learning rate, and on what.

While the backbone is frozen and no random transform changes the images, their features are the same in every
epoch. They are computed once then, and the head trains on them.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from schemas.train.transfer import Transfer
from stages.train.loop import Phase, Training
from stages.vision.dataset import Samples, build_loader
from stages.vision.inference import compute_batch_logits
from stages.vision.pretrained import (
    FrozenBackbone,
    HeadOnFeatures,
    capture_features,
    find_heads,
    set_backbone_trainable,
)


def build_parameter_groups(network: nn.Module, transfer: Transfer, *, lr: float) -> list[dict[str, Any]]:
    """Return the parameters as torch's optimizers take them, the heads first, each part with its rate."""
    head = [parameter for head in find_heads(network).values() for parameter in head.parameters()]
    in_head = set(head)
    backbone = [parameter for parameter in network.parameters() if parameter not in in_head]
    groups = ((head, transfer.head_lr_factor), (backbone, transfer.backbone_lr_factor))
    return [{"params": parameters, "lr": lr * factor} for parameters, factor in groups if parameters]


def is_frozen(transfer: Transfer, *, epoch: int) -> bool:
    """Return whether the backbone keeps its weights in an epoch, counted from 0."""
    num_epochs = transfer.unfreeze_after_epochs
    return transfer.freeze == "backbone" and (num_epochs is None or epoch < num_epochs)


class Phases:
    """The phase of every epoch: a function of epoch and weights, so that it needs no saved state."""

    def __init__(
        self,
        training: Training,
        network: nn.Module,
        whole: Phase,
        transfer: Transfer,
        *,
        feature_folder: Path | None,
    ) -> None:
        """Prepare the phases of a run.

        Args:
            training: The run.
            network: The state's.
            whole: The phase that trains all of the network on images.
            transfer: What is frozen.
            feature_folder: Where features may be kept, or None if they differ from epoch to epoch, as they do
                under random transforms.
        """
        self.whole = whole
        self._training = training
        self._network = network
        self._transfer = transfer
        self._feature_folder = feature_folder
        self._frozen: Phase | None = None

    def at(self, epoch: int) -> Phase:
        """Return the phase of an epoch, counted from 0, and set which weights get gradients."""
        frozen = is_frozen(self._transfer, epoch=epoch)
        set_backbone_trainable(self._network, not frozen)
        if not frozen:
            self._frozen = None  # gives the features' disk space back
            return self.whole
        if self._frozen is None:
            self._frozen = self._freeze()
        return self._frozen

    def _freeze(self) -> Phase:
        # Never compiled: a head alone has little to gain.
        if self._feature_folder is None:
            module = FrozenBackbone(self._network)
            return Phase(module, module, self.whole.train_batches, self.whole.val_batches)
        return train_on_features(self._training, self._network, folder=self._feature_folder)


def train_on_features(training: Training, network: nn.Module, *, folder: Path) -> Phase:
    """Compute the features of all images once, and return the phase that trains the head on them.

    Its steps use the same random numbers as those of FrozenBackbone, and differ from them only in the
    rounding that comes with other batch sizes.
    """
    train_features = FeatureFile(training, training.train_images, network, folder=folder)
    val_features = FeatureFile(training, training.val_images, network, folder=folder)
    module = HeadOnFeatures(network, feature_shape=train_features.feature_shape)
    return Phase(
        module,
        module,
        build_loader(train_features, batch_size=training.batch_size, sampler=training.sampler),
        build_loader(val_features, batch_size=training.batch_size),
    )


class FeatureFile(Dataset[tuple[Tensor, Tensor]]):
    """The features float32 (N, values, 1, 1) of a split, and its labels.

    They are in an unnamed file, so that memory use stays flat. Height and width of 1 let them pass for
    images.
    """

    def __init__(
        self, training: Training, images: Dataset[tuple[Tensor, Tensor]], network: nn.Module, *, folder: Path
    ) -> None:
        labels = []
        # The file has no name, and is gone with the map of it, even after a kill.
        with tempfile.TemporaryFile(dir=folder) as file:
            for features, batch_labels in _compute_features(training, network, images):
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


def _compute_features(
    training: Training, network: nn.Module, images: Dataset[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, batch by batch, the head's inputs, float32 on the CPU, and the labels (N,)."""
    network.eval()
    for batch, labels in build_loader(images, batch_size=training.batch_size, device=training.device):
        with capture_features(network) as captured:
            compute_batch_logits(network, batch, device=training.device, numerics=training.numerics)
        (features,) = captured
        # The features of a single image come twice: compute_batch_logits has no batches of one.
        yield features.float().cpu()[: len(batch)].contiguous(), labels
