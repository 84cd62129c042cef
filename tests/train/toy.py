"""A training run small enough for a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, optim

from schemas.shared.manifest import Manifest
from schemas.vision.network import Network
from schemas.vision.runtime import Numerics, Precision
from schemas.vision.transforms import Normalize, ToTensor, Transform
from stages.train.epoch_table import TrainingProgress
from stages.train.loop import Phase, Training
from stages.train.loss import CrossEntropy
from stages.train.parts import PartSampler
from stages.train.precision import build_scaler, compile_steps
from stages.train.sampler import EpochSampler
from stages.train.state import TrainingState, begin_state
from stages.vision.dataset import PreparedImages, build_loader
from stages.vision.networks import build_network
from stages.vision.transforms import build_mixing, build_transforms, without_random
from tests.vision.completeness import read_section

CPU = torch.device("cpu")


class Toy(NamedTuple):
    """A run of which every epoch trains the whole network."""

    training: Training
    state: TrainingState
    phase: Phase


def never_save(state: TrainingState) -> None:
    """Let training continue."""


def make_training(
    folder: Path,
    manifest: Manifest,
    *,
    num_epochs: int = 3,
    batch_size: int = 5,
    num_workers: int = 0,
    prefetch_factor: int = 2,
    lr: float = 0.05,
    dropout: float = 0.0,
    augment: Sequence[Transform] = (),
    mix: Sequence[Transform] = (),
    precision: Precision = "float32",
    criterion: nn.Module | None = None,
    seed: int = 0,
    max_grad_norm: float | None = None,
    accumulation_steps: int = 1,
    is_compiled: bool = False,
    device: torch.device = CPU,
) -> Toy:
    """Return a training run of a tiny network with SGD and momentum, its learning rate falling by steps."""
    torch.manual_seed(seed)
    cnn = {"channels": [4, 4], "kernel_size": 3, "dropout": dropout}
    network = build_network(
        Network.model_validate({**read_section("network"), "name": "cnn", "cnn": cnn}).chosen(),
        image=manifest.image,
        num_classes=len(manifest.classes),
    )
    network = network.to(device).to(memory_format=torch.channels_last)
    transforms = (
        *augment,
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=manifest.mean, std=manifest.std),
        *mix,
    )
    images = PreparedImages(folder, manifest, "train", transform=build_transforms(transforms, seed=seed))
    val_images = PreparedImages(
        folder, manifest, "val", transform=build_transforms(without_random(transforms))
    )
    parts = PartSampler(
        EpochSampler(images.labels, shuffle=True, seed=seed),
        batch_size=batch_size,
        num_parts=accumulation_steps,
    )
    optimizer = optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    training = Training(
        criterion=(criterion or CrossEntropy(label_smoothing=0.0)).to(device),
        mixing=build_mixing(transforms, num_classes=len(manifest.classes), seed=seed),
        train_images=images,
        val_images=val_images,
        parts=parts,
        num_classes=len(manifest.classes),
        best_metric="loss",
        max_grad_norm=max_grad_norm,
        device=device,
        numerics=Numerics(threads=1, precision=precision),
        seed=seed,
        progress=TrainingProgress(num_epochs=num_epochs, images_per_epoch=len(images)),
    )
    phase = Phase(
        network,
        compile_steps(network) if is_compiled else network,
        build_loader(
            images,
            batches=parts,
            device=device,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
        ),
        build_loader(val_images, batch_size=batch_size, device=device),
    )
    state = begin_state(
        network,
        optimizer,
        optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 10)),
        steps_per_epoch=parts.num_steps,
        device=device,
    )
    state.scaler = build_scaler(precision, device)
    return Toy(training, state, phase)
