"""Transfer learning: which part of the network an epoch trains, at which learning rate, and on what.

While the backbone is frozen and no random transform changes the images, their features are the same in every
epoch. They are computed once then, and the head trains on them. After the thaw its batch norm still uses the
statistics of the pretrained weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from schemas.train.transfer import Transfer
from schemas.vision.checkpoint import EpochRecord
from stages.train.epoch_table import write_accuracy
from stages.train.loop import Phase, Training
from stages.train.parts import list_batches
from stages.vision.checkpoint import hash_weights
from stages.vision.dataset import PreparedImages, Samples, build_loader
from stages.vision.features import Array, FeatureStore, compute_features
from stages.vision.pretrained import (
    FrozenBackbone,
    FrozenStatistics,
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


def remark_on_tuning(history: Sequence[EpochRecord], transfer: Transfer, *, best_epoch: int) -> str | None:
    """Return a line if training the backbone too brought nothing over the head alone; None otherwise.

    Args:
        history: All epochs of a run.
        transfer: The section.
        best_epoch: Counted from 1.
    """
    frozen = [record for record in history if is_frozen(transfer, epoch=record.epoch - 1)]
    tuned = history[len(frozen) :]
    if not frozen or not tuned or best_epoch > len(frozen):
        return None
    before, after = (write_accuracy(history[epoch - 1].val.accuracy) for epoch in (best_epoch, len(history)))
    return (
        f"fine-tuning brought nothing: validation accuracy {before} while the backbone was frozen, {after} "
        "at the end; lower transfer.backbone_lr_factor or optimizer.lr, or never unfreeze it "
        "(transfer.unfreeze_after_epochs: null)"
    )


class Phases:
    """The phase of every epoch: a function of epoch and weights, so that it needs no saved state."""

    def __init__(
        self,
        training: Training,
        network: nn.Module,
        whole: Phase,
        transfer: Transfer,
        *,
        why_again: str = "",
    ) -> None:
        """Prepare the phases of a run.

        Args:
            training: The run.
            network: The state's.
            whole: The phase that trains all of the network on images; in one that was frozen, all but the
                statistics of batch norm.
            transfer: What is frozen.
            why_again: Why features must be computed again in every epoch; empty where they need not.
        """
        self.whole = replace(whole, module=FrozenStatistics(network)) if transfer.freeze else whole
        self._training = training
        self._network = network
        self._transfer = transfer
        self._why_again = why_again
        self._store: FeatureStore | None = None
        self._phase = whole
        self._is_frozen: bool | None = None

    def keep_features(self, store: FeatureStore) -> None:
        """Have features computed once, where they are the same in every epoch, and kept there."""
        self._store = store

    def at(self, epoch: int) -> Phase:
        """Return the phase of an epoch, counted from 0, and set which weights get gradients."""
        frozen = is_frozen(self._transfer, epoch=epoch)
        if frozen == self._is_frozen:
            return self._phase
        self._is_frozen = frozen
        set_backbone_trainable(self._network, not frozen)
        self._phase = self._freeze() if frozen else self.whole
        # Epochs of the head alone tell nothing about the time that the others will take.
        last_epoch = self._transfer.unfreeze_after_epochs if frozen else None
        self._training.progress.start_phase(last_epoch=last_epoch)
        return self._phase

    def _freeze(self) -> Phase:
        # Never compiled: a head alone has little to gain.
        if self._why_again or self._store is None:
            if self._why_again:
                print(f"train: the backbone is frozen; features differ in every epoch: {self._why_again}")
            module = FrozenBackbone(self._network)
            return Phase(module, module, self.whole.train_batches, self.whole.val_batches)
        return train_on_features(self._training, self._network, self._store)


def train_on_features(training: Training, network: nn.Module, store: FeatureStore) -> Phase:
    """Return the phase that trains the head on the features of all images, which are computed once.

    Its steps use the same random numbers as those of FrozenBackbone, and differ from them only in the
    rounding that comes with other batch sizes.
    """
    train_features, val_features = (
        _open_features(training, network, images, store=store)
        for images in (training.train_images, training.val_images)
    )
    module = HeadOnFeatures(network, feature_shape=train_features.feature_shape)
    return Phase(
        module,
        module,
        build_loader(train_features, batches=training.parts),
        build_loader(
            val_features,
            batches=list_batches(
                len(val_features),
                batch_size=training.parts.batch_size,
                processes=training.parts.processes,
            ),
        ),
    )


def _open_features(
    training: Training, network: nn.Module, images: PreparedImages, *, store: FeatureStore
) -> "Features":
    """Return what the head takes of each image of a split."""
    compute = partial(
        compute_features,
        network,
        images,
        capture=capture_features,
        device=training.device,
        numerics=training.numerics,
        title="train: features",
    )
    processes = training.parts.processes
    if not processes.is_first:
        processes.wait()  # for the first, which computes them once for all
    features = Features(store.open(images, weights=hash_backbone(network), compute=compute), images.labels)
    if processes.is_first:
        processes.wait()
    return features


def hash_backbone(network: nn.Module) -> str:
    """Return a hash of the weights and buffers of all but the heads."""
    heads = tuple(f"{name}." for name in find_heads(network))
    return hash_weights(
        {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(heads)}
    )


class Features(Dataset[tuple[Tensor, Tensor]]):
    """The features float32 (N, values, 1, 1) of a split, and its labels.

    Height and width of 1 let them pass for images.
    """

    def __init__(self, features: Array, labels: Tensor) -> None:
        self.feature_shape = features.shape[1:]
        self._features = features.reshape(len(features), -1, 1, 1)
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> Samples:
        """Return the samples at these indices; DataLoader calls it once a batch."""
        return Samples(torch.from_numpy(self._features[indices]), self._labels[indices])
