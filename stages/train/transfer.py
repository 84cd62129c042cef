"""Transfer learning: which part of the network an epoch trains, at which learning rate, and on what.

While the backbone is frozen and no random transform changes the images, their features are the same in every
epoch. They are computed once then, and the head trains on them. After the thaw its batch norm still uses the
statistics of the pretrained weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from schemas.train.transfer import Transfer
from schemas.vision.checkpoint import EpochRecord
from stages.train.epoch_table import write_accuracy
from stages.train.features import FeatureStore, hash_backbone
from stages.train.loop import Phase, Training
from stages.vision.dataset import build_loader
from stages.vision.pretrained import (
    FrozenBackbone,
    FrozenStatistics,
    HeadOnFeatures,
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
    backbone = hash_backbone(network)
    train_features = store.open(training, network, training.train_images, backbone=backbone)
    val_features = store.open(training, network, training.val_images, backbone=backbone)
    module = HeadOnFeatures(network, feature_shape=train_features.feature_shape)
    return Phase(
        module,
        module,
        build_loader(train_features, batch_size=training.batch_size, sampler=training.sampler),
        build_loader(val_features, batch_size=training.batch_size),
    )
