"""The train stage, top to bottom."""

import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from schemas.params import Params
from schemas.shared.image import ImageForm
from schemas.shared.manifest import Manifest
from schemas.train.train_metrics import TrainMetrics
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import EpochRecord, History
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Transforms
from stages.shared.errors import InputError
from stages.shared.files import publish_folder, sha256_of, write_json
from stages.shared.paths import DVCLIVE, MAKE_PREPARED, METRICS, MODEL, PREPARED
from stages.train.best import is_better
from stages.train.calibration import calibrate
from stages.train.curves import log_epoch, open_curves
from stages.train.loop import Training, run_epoch
from stages.train.losses import build_loss
from stages.train.lr_scheduler import build_lr_scheduler
from stages.train.optimizer import build_optimizer
from stages.train.order import EpochOrder
from stages.train.progress import TrainingProgress
from stages.vision.checkpoint import hash_weights, write_checkpoint
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.inference import compute_logits
from stages.vision.networks import build_network
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import build_transforms, fill_in_statistics, without_random

# What the checkpoint keeps of params.yaml: all that can change its weights. The workers that load cannot.
_KEPT_PARAMETERS: Mapping[str, set[str] | bool] = {
    **dict.fromkeys(("transforms", "network", "loss", "optimizer", "lr_scheduler", "training"), True),
    "loader": {"batch_size", "shuffle"},
}


def train(params: Params) -> None:
    """Train as params.yaml says."""
    manifest = read_manifest(PREPARED)
    refuse_other_form(manifest.image, params)
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    training = build_training(params, manifest, transforms)
    epochs: list[EpochRecord] = []
    best: EpochRecord | None = None
    with (
        publish_folder(MODEL) as folder,
        publish_folder(DVCLIVE) as curves,
        open_curves(curves) as live,
        training.progress,
    ):
        for epoch in range(params.training.num_epochs):
            record = run_epoch(training, epoch=epoch)
            is_best = is_better(record.val, best.val if best else None, metric=params.training.best_metric)
            if is_best:
                best = record
                save_checkpoint(folder / "best.safetensors", training, params, manifest, transforms, record)
            epochs.append(record)
            log_epoch(live, record)
            training.progress.finish_epoch(record, is_best=is_best)
        save_checkpoint(folder / "last.safetensors", training, params, manifest, transforms, epochs[-1])
        assert best is not None, "there is at least one epoch"
        history = History(
            best_metric=params.training.best_metric, best_epoch=best.epoch, epochs=tuple(epochs)
        )
        write_json(folder / "history.json", history)
    metrics = TrainMetrics(
        best_epoch=best.epoch,
        num_parameters=sum(parameter.numel() for parameter in training.network.parameters()),
        train_loss=best.train_loss,
        val=best.val,
    )
    write_json(METRICS / "train.json", metrics)
    print(f"train: best epoch {best.epoch} of {len(epochs)}, validation accuracy {best.val.accuracy:.2%}")


def refuse_other_form(found: ImageForm, params: Params) -> None:
    """Refuse to train on images that are not as params.yaml says, as when prepare-dataset did not run since.

    Raises:
        InputError: The prepared images have another size or other colours.
    """
    wanted = ImageForm.model_validate(params.dataset.model_dump(include=set(ImageForm.model_fields)))
    if found != wanted:
        raise InputError(
            f"{PREPARED}: holds images with {found}; params.yaml asks for {wanted}; "
            f"make it anew with: {MAKE_PREPARED}"
        )


def build_training(params: Params, manifest: Manifest, transforms: Transforms) -> Training:
    """Return the network and all that trains it, from the parameters and the prepared data."""
    device = choose_device(params.training.device, place="params.yaml: training.device")
    numerics = Numerics(threads=params.training.threads, precision=params.training.precision)
    make_deterministic(numerics)
    torch.manual_seed(params.training.seed)
    network = build_network(params.network.chosen(), image=manifest.image, num_classes=len(manifest.classes))
    network = network.to(device).to(memory_format=torch.channels_last)
    criterion = build_loss(params.loss, class_counts=manifest.counts.train).to(device)
    optimizer = build_optimizer(params.optimizer, network.parameters())

    random_transforms = build_transforms(transforms, seed=params.training.seed)
    train_images = PreparedImages(PREPARED, manifest, "train", transform=random_transforms)
    val_images = PreparedImages(
        PREPARED, manifest, "val", transform=build_transforms(without_random(transforms))
    )
    order = EpochOrder(len(train_images), shuffle=params.loader.shuffle, seed=params.training.seed)
    loader = params.loader.model_dump(exclude={"shuffle"})
    train_batches = build_loader(train_images, sampler=order, **loader)
    return Training(
        network=network,
        criterion=criterion,
        optimizer=optimizer,
        lr_scheduler=build_lr_scheduler(
            params.lr_scheduler,
            optimizer,
            num_epochs=params.training.num_epochs,
            steps_per_epoch=len(train_batches),
        ),
        train_images=train_images,
        train_order=order,
        train_batches=train_batches,
        val_batches=build_loader(val_images, **loader),
        num_classes=len(manifest.classes),
        device=device,
        numerics=numerics,
        seed=params.training.seed,
        progress=TrainingProgress(num_epochs=params.training.num_epochs, images_per_epoch=len(train_images)),
    )


def save_checkpoint(
    path: Path,
    training: Training,
    params: Params,
    manifest: Manifest,
    transforms: Transforms,
    epoch: EpochRecord,
) -> None:
    """Write the network as it is now, with all that is needed to use it."""
    logits, labels = compute_logits(
        training.network, training.val_batches, device=training.device, numerics=training.numerics
    )
    weights = training.network.state_dict()
    checkpoint = Checkpoint(
        version=1,
        network=params.network.chosen(),
        classes=manifest.classes,
        image=manifest.image,
        preprocessing=without_random(transforms),
        numerics=training.numerics,
        calibration=calibrate(logits, labels),
        epoch=epoch,
        num_epochs=params.training.num_epochs,
        seed=params.training.seed,
        dataset_sha256=sha256_of(PREPARED / "manifest.json"),
        weights_sha256=hash_weights(weights),
        libraries={"python": platform.python_version(), "torch": torch.__version__},
        parameters=Params.model_dump(params, mode="json", include=_KEPT_PARAMETERS),
    )
    write_checkpoint(path, checkpoint, weights)
