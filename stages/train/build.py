"""All that trains, built from parameters and prepared data."""

from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from schemas.params import Params
from schemas.shared.image import ImageForm
from schemas.shared.manifest import Manifest
from schemas.vision.initial_weights import InitialWeights
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Transforms, image_after
from stages.shared.dvc_repository import find_scratch
from stages.shared.errors import InputError
from stages.shared.paths import PREPARED
from stages.train.average import WeightAverage
from stages.train.compiling import Steps, choose_compile
from stages.train.first_weights import fit_to_images, refuse_lone_image, start_from_weights
from stages.train.loop import Training, smallest_part
from stages.train.losses import build_loss
from stages.train.lr_scheduler import build_lr_scheduler
from stages.train.optimizer import build_optimizer
from stages.train.order import EpochOrder
from stages.train.plateau import Plateau
from stages.train.precision import choose_precision
from stages.train.progress import TrainingProgress
from stages.train.state import TrainingState, begin_state
from stages.train.transfer import build_parameter_groups, is_frozen
from stages.vision.dataset import PreparedImages, build_loader
from stages.vision.head import refuse_headless
from stages.vision.networks import build_network
from stages.vision.probe import refuse_other_images
from stages.vision.runtime import (
    choose_device,
    describe_machine,
    list_libraries,
    make_deterministic,
)
from stages.vision.transforms import (
    build_mixing,
    build_transforms,
    for_training,
    without_random,
)

Number = TypeVar("Number", int, float)


def refuse_float16(device: torch.device, params: Params) -> None:
    """Refuse to train in float16 where small gradients cannot be kept from vanishing.

    Raises:
        InputError: The device is another one than cuda.
    """
    if params.training.precision == "float16" and device.type != "cuda":
        raise InputError(
            f"params.yaml: training.precision: found float16, which trains on cuda only, not on "
            f"{device.type}; allowed: float32, bfloat16"
        )


def build_training(
    params: Params, manifest: Manifest, transforms: Transforms
) -> tuple[Training, TrainingState]:
    """Return all that trains, and the network before its first step, from parameters and prepared data."""
    device = choose_device(params.training.device, place="params.yaml: training.device")
    refuse_float16(device, params)
    numerics = Numerics(threads=params.training.threads, precision="float32")
    make_deterministic(numerics)
    torch.manual_seed(params.training.seed)
    image = image_after(manifest.image, transforms)
    trained_image = image_after(manifest.image, transforms, training=True)
    limit = number_or_none(params.training.limit_images)
    num_images = min(sum(manifest.counts.train), limit or sum(manifest.counts.train))
    fixed_transforms = build_transforms(without_random(transforms))
    all_images = PreparedImages(PREPARED, manifest, "train", transform=fixed_transforms)
    network, initial_weights = _begin_network(
        params,
        all_images,
        image=image,
        trained_image=trained_image,
        num_classes=len(manifest.classes),
        num_images=num_images,
    )
    network = network.to(device).to(memory_format=torch.channels_last)
    scratch = find_scratch()
    if scratch is None:
        raise InputError(
            f"{Path.cwd()}: is in no DVC repository, where training keeps its state; run: dvc init"
        )
    libraries = list_libraries(params.network.name, transforms)
    machine = {**libraries, **describe_machine(device)}
    precision = choose_precision(
        params.training.precision,
        network,
        image=trained_image,
        device=device,
        threads=params.training.threads,
        machine=machine,
        memory=scratch / "precision.json",
    )
    numerics = numerics.model_copy(update={"precision": precision})
    if params.transfer.freeze == "backbone":
        refuse_headless(network, image=image, device=device)
    criterion = build_loss(params.loss, class_counts=manifest.counts.train).to(device)
    optimizer = build_optimizer(
        params.optimizer, build_parameter_groups(network, params.transfer, lr=params.optimizer.lr)
    )

    random_transforms = build_transforms(for_training(transforms), seed=params.training.seed)
    train_images = PreparedImages(PREPARED, manifest, "train", transform=random_transforms, limit=limit)
    val_images = PreparedImages(PREPARED, manifest, "val", transform=fixed_transforms, limit=limit)
    order = EpochOrder(
        train_images.labels,
        shuffle=params.loader.shuffle,
        seed=params.training.seed,
        sampling=params.loader.sampling,
        batch_size=params.loader.batch_size,
    )
    loader = params.loader.model_dump(exclude={"shuffle", "sampling"})
    train_batches = build_loader(train_images, sampler=order, device=device, **loader)
    num_epochs, steps_per_epoch = params.training.num_epochs, len(train_batches)
    num_parts = params.training.accumulation_steps
    is_compiled = choose_compile(
        params.training.compile,
        network,
        image=trained_image,
        device=device,
        numerics=numerics,
        steps=Steps(
            batch_size=-(-min(params.loader.batch_size, num_images) // num_parts),
            num_steps=num_epochs * steps_per_epoch * num_parts,
        ),
        machine=machine,
        memory=scratch / "compile.json",
    )
    plateau = Plateau(params.lr_scheduler.plateau, metric=params.training.best_metric)
    lr_scheduler = build_lr_scheduler(
        params.lr_scheduler,
        optimizer,
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
        plateau=plateau,
    )
    training = Training(
        network=network,
        initial_weights=initial_weights,
        criterion=criterion,
        mixing=build_mixing(transforms, num_classes=len(manifest.classes), seed=params.training.seed),
        train_images=train_images,
        train_order=order,
        train_batches=train_batches,
        val_images=val_images,
        val_batches=build_loader(val_images, device=device, **loader),
        batch_size=params.loader.batch_size,
        num_classes=len(manifest.classes),
        best_metric=params.training.best_metric,
        max_grad_norm=number_or_none(params.training.max_grad_norm),
        accumulation_steps=params.training.accumulation_steps,
        device=device,
        numerics=numerics,
        seed=params.training.seed,
        progress=TrainingProgress(num_epochs=num_epochs, images_per_epoch=len(train_images)),
        is_compiled=is_compiled,
    )
    state = begin_state(network, optimizer, lr_scheduler, steps_per_epoch=steps_per_epoch, device=device)
    if params.lr_scheduler.name == "plateau":
        state.plateau = plateau
    if params.training.ema_decay != "none":
        state.average = WeightAverage(network, decay=params.training.ema_decay)
    state.scaler = torch.amp.GradScaler(device.type, enabled=numerics.precision == "float16")
    return training, state


def _begin_network(
    params: Params,
    images: PreparedImages,
    *,
    image: ImageForm,
    trained_image: ImageForm,
    num_classes: int,
    num_images: int,
) -> tuple[nn.Module, InitialWeights | None]:
    """Return the network before its first step, and the weights that it starts from.

    Args:
        params: All parameters.
        images: The training images, for networks that look at them first.
        image: What the network takes.
        trained_image: The same in training, of the same form or another size.
        num_classes: Its answers.
        num_images: How many images an epoch has.
    """
    network = build_network(params.network.chosen(), image=image, num_classes=num_classes)
    if trained_image != image:
        refuse_other_images(network, image=trained_image, place=f"network.name: {params.network.name}")
    fit_to_images(network, images, seed=params.training.seed)
    initial_weights = start_from_weights(network, params.network, image=image)
    smallest = smallest_part(
        num_images, batch_size=params.loader.batch_size, num_parts=params.training.accumulation_steps
    )
    transfer = params.transfer
    refuse_lone_image(
        network,
        image=trained_image,
        smallest=smallest,
        is_always_frozen=all(is_frozen(transfer, epoch=epoch) for epoch in range(params.training.num_epochs)),
    )
    return network, initial_weights


def number_or_none(value: Literal["none"] | Number) -> Number | None:
    """Return a parameter as Python has it."""
    return None if value == "none" else value
