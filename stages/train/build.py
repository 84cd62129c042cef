"""A training run, built from parameters and prepared data. Everything a run consists of is named here."""

from typing import NamedTuple

import torch
from torch import Tensor

from schemas.params import Params
from schemas.shared.manifest import ImageForm, Manifest
from schemas.vision.checkpoint import PretrainedWeights
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Transforms, image_after
from stages.shared.errors import InputError
from stages.shared.paths import MAKE_PREPARED, PREPARED
from stages.train.epoch_table import TrainingProgress
from stages.train.initial_network import begin_network
from stages.train.loop import Phase, Training
from stages.train.loss import build_loss
from stages.train.lr_scheduler import Plateau, build_lr_scheduler
from stages.train.optimizer import build_optimizer
from stages.train.parts import PartSampler, list_batches
from stages.train.precision import build_scaler, choose_precision, compile_steps
from stages.train.ranks import ALONE, Processes
from stages.train.sampler import EpochSampler
from stages.train.state import TrainingState, WeightAverage, begin_state
from stages.train.transfer import Phases, build_parameter_groups
from stages.vision.checkpoint import hash_weights
from stages.vision.dataset import PreparedImages, build_loader
from stages.vision.networks import find_statistics
from stages.vision.pretrained import check_head, find_heads, select_backbone
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import (
    Statistics,
    build_mixing,
    build_transforms,
    fill_in_statistics,
    for_training,
    without_random,
)


class Run(NamedTuple):
    """A training run."""

    training: Training
    state: TrainingState
    phases: Phases
    transforms: Transforms
    """Those of params.yaml, with the statistics of the training split filled in."""

    pretrained_weights: PretrainedWeights | None
    """The pretrained weights it starts from."""

    backbone: dict[str, Tensor] | None
    """A copy of what is pretrained of the network before its first step, on the CPU."""


def build_run(params: Params, manifest: Manifest, processes: Processes = ALONE) -> Run:
    """Return a run before its first step.

    Args:
        params: All parameters.
        manifest: That of the prepared data.
        processes: Those that compute it.

    Raises:
        InputError: Something that params.yaml asks for is not possible here, with these data.
    """
    check_image_form(manifest.image, params)
    transforms = fill_in_statistics(
        params.transforms,
        dataset=Statistics(manifest.mean, manifest.std),
        weights=lambda: find_statistics(params.network.chosen(), image=manifest.image),
    )
    image = image_after(manifest.image, transforms)
    trained_image = image_after(manifest.image, transforms, training=True)
    num_classes = len(manifest.classes)

    device = choose_device(params.training.device, place="params.yaml: training.device")
    numerics = Numerics(
        threads=params.training.threads, precision=choose_precision(params.training.precision, device)
    )
    make_deterministic(numerics)
    torch.manual_seed(params.training.seed)

    limit = params.training.limit_images
    random_transforms = build_transforms(for_training(transforms), seed=params.training.seed)
    fixed_transforms = build_transforms(without_random(transforms))
    all_images = PreparedImages(PREPARED, manifest, "train", transform=fixed_transforms)
    train_images = PreparedImages(PREPARED, manifest, "train", transform=random_transforms, limit=limit)
    val_images = PreparedImages(PREPARED, manifest, "val", transform=fixed_transforms, limit=limit)
    sampler = EpochSampler(
        train_images.labels,
        shuffle=params.loader.shuffle,
        seed=params.training.seed,
        sampling=params.loader.sampling,
        batch_size=params.loader.batch_size,
    )
    batch_size = params.loader.batch_size
    parts = PartSampler(
        sampler, batch_size=batch_size, num_parts=params.training.accumulation_steps, processes=processes
    )
    loader = params.loader.model_dump(include={"num_workers", "prefetch_factor"})
    train_batches = build_loader(train_images, batches=parts, device=device, **loader)
    val_batches = build_loader(
        val_images,
        batches=list_batches(len(val_images), batch_size=batch_size, processes=processes),
        device=device,
        **loader,
    )

    network, pretrained_weights = begin_network(
        params,
        all_images,
        image=image,
        trained_image=trained_image,
        num_classes=num_classes,
        num_images=len(train_images),
    )
    backbone = None
    if pretrained_weights is not None:
        backbone = {name: tensor.clone() for name, tensor in select_backbone(network).items()}
        pretrained_weights = pretrained_weights.model_copy(update={"backbone_sha256": hash_weights(backbone)})
    network = network.to(device).to(memory_format=torch.channels_last)
    has_one_head = len(find_heads(network)) == 1
    if params.transfer.freeze == "backbone" and has_one_head:
        check_head(network, image=image, device=device)

    groups = build_parameter_groups(network, params.transfer, lr=params.optimizer.lr)
    optimizer = build_optimizer(params.optimizer, groups)
    plateau = Plateau(params.lr_scheduler.plateau, metric=params.training.best_metric)
    lr_scheduler = build_lr_scheduler(
        params.lr_scheduler,
        optimizer,
        num_epochs=params.training.num_epochs,
        steps_per_epoch=parts.num_steps,
        plateau=plateau,
    )
    state = begin_state(network, optimizer, lr_scheduler, steps_per_epoch=parts.num_steps, device=device)
    if params.lr_scheduler.name == "plateau":
        state.plateau = plateau
    if params.training.ema_decay is not None:
        state.average = WeightAverage(network, decay=params.training.ema_decay)
    state.scaler = build_scaler(numerics.precision, device)

    training = Training(
        criterion=build_loss(params.loss, class_counts=manifest.counts.train).to(device),
        mixing=build_mixing(transforms, num_classes=num_classes, seed=params.training.seed),
        train_images=train_images,
        val_images=val_images,
        parts=parts,
        num_classes=num_classes,
        best_metric=params.training.best_metric,
        max_grad_norm=params.training.max_grad_norm,
        device=device,
        numerics=numerics,
        seed=params.training.seed,
        progress=TrainingProgress(num_epochs=params.training.num_epochs, images_per_epoch=len(train_images)),
    )
    forward = compile_steps(network) if params.training.compile else network
    whole = Phase(network, forward, train_batches, val_batches)
    random = next((transform.name for transform in transforms if transform.random), None)
    why_again = f"{random} is random" if random else "" if has_one_head else "the network has several heads"
    phases = Phases(training, network, whole, params.transfer, why_again=why_again)
    return Run(training, state, phases, transforms, pretrained_weights, backbone)


def check_image_form(found: ImageForm, params: Params) -> None:
    """Check that the prepared images are as params.yaml says: prepare-dataset may not have run since.

    Raises:
        InputError: They have another size or other colors.
    """
    wanted = ImageForm.model_validate(params.dataset.model_dump(include=set(ImageForm.model_fields)))
    if found != wanted:
        raise InputError(
            f"{PREPARED}: holds images with {found}; params.yaml asks for {wanted}; "
            f"re-create it with: {MAKE_PREPARED}"
        )
