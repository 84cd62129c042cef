"""The train stage, top to bottom."""

import platform

import torch

from schemas.params import Params
from schemas.shared.image import ImageForm
from schemas.shared.manifest import Manifest
from schemas.train.train_metrics import TrainMetrics
from schemas.vision.calibration import Calibration
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Transforms, image_after
from stages.shared.errors import InputError
from stages.shared.files import publish_folder, sha256_of, write_json
from stages.shared.paths import DVCLIVE, METRICS, MODEL, PREPARED
from stages.train.calibration import calibrate
from stages.train.curves import log_epoch, open_curves
from stages.train.loop import Training, copy_weights, run_epoch
from stages.train.losses import build_loss
from stages.train.lr_scheduler import build_lr_scheduler
from stages.train.optimizer import build_optimizer
from stages.train.order import EpochOrder
from stages.train.progress import TrainingProgress
from stages.train.state import Best, TrainingState, begin_state
from stages.vision.checkpoint import hash_weights, write_checkpoint
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.inference import compute_logits
from stages.vision.networks import build_network
from stages.vision.runtime import choose_device, make_deterministic
from stages.vision.transforms import (
    build_mixing,
    build_transforms,
    fill_in_statistics,
    for_training,
    without_random,
)


def train(params: Params) -> None:
    """Train as params.yaml says."""
    manifest = read_manifest(PREPARED)
    refuse_other_form(manifest.image, params)
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    training, state = build_training(params, manifest, transforms)
    with (
        publish_folder(MODEL) as folder,
        publish_folder(DVCLIVE) as curves,
        open_curves(curves) as live,
        training.progress,
    ):
        while state.epoch < params.training.num_epochs:
            log_epoch(live, run_epoch(training, state))
        best = state.best
        assert best is not None, "there is at least one epoch"
        last = Best(state.history[-1], calibrate_now(training, state), copy_weights(state.network))
        for name, kept in (("best", best), ("last", last)):
            checkpoint = describe_checkpoint(kept, params, manifest, transforms, training.numerics)
            write_checkpoint(folder / f"{name}.safetensors", checkpoint, kept.weights)
        history = History(
            best_metric=params.training.best_metric,
            best_epoch=best.record.epoch,
            epochs=tuple(state.history),
        )
        write_json(folder / "history.json", history)
    metrics = TrainMetrics(
        best_epoch=best.record.epoch,
        num_parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        train_loss=best.record.train_loss,
        val=best.record.val,
    )
    write_json(METRICS / "train.json", metrics)
    print(
        f"train: best epoch {best.record.epoch} of {len(state.history)}, "
        f"validation accuracy {best.record.val.accuracy:.2%}"
    )


def refuse_other_form(found: ImageForm, params: Params) -> None:
    """Refuse to train on images that are not as params.yaml says, as when prepare-dataset did not run since.

    Raises:
        InputError: The prepared images have another size or other colours.
    """
    wanted = ImageForm.model_validate(params.dataset.model_dump(include=set(ImageForm.model_fields)))
    if found != wanted:
        raise InputError(
            f"{PREPARED}: holds images with {found}; params.yaml asks for {wanted}; "
            "make it anew with: dvc repro prepare-dataset"
        )


def build_training(
    params: Params, manifest: Manifest, transforms: Transforms
) -> tuple[Training, TrainingState]:
    """Return all that trains, and the network before its first step, from parameters and prepared data."""
    device = choose_device(params.training.device, place="params.yaml: training.device")
    numerics = Numerics(threads=params.training.threads, precision=params.training.precision)
    make_deterministic(numerics)
    torch.manual_seed(params.training.seed)
    image = image_after(manifest.image, transforms)
    network = build_network(params.network.chosen(), image=image, num_classes=len(manifest.classes))
    network = network.to(device).to(memory_format=torch.channels_last)
    criterion = build_loss(params.loss, class_counts=manifest.counts.train).to(device)
    optimizer = build_optimizer(params.optimizer, network.parameters())

    random_transforms = build_transforms(for_training(transforms), seed=params.training.seed)
    train_images = PreparedImages(PREPARED, manifest, "train", transform=random_transforms)
    val_images = PreparedImages(
        PREPARED, manifest, "val", transform=build_transforms(without_random(transforms))
    )
    order = EpochOrder(len(train_images), shuffle=params.loader.shuffle, seed=params.training.seed)
    loader = params.loader.model_dump(exclude={"shuffle"})
    train_batches = build_loader(train_images, sampler=order, device=device, **loader)
    num_epochs, steps_per_epoch = params.training.num_epochs, len(train_batches)
    lr_scheduler = build_lr_scheduler(
        params.lr_scheduler, optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch
    )
    training = Training(
        criterion=criterion,
        mixing=build_mixing(transforms, num_classes=len(manifest.classes), seed=params.training.seed),
        train_images=train_images,
        train_order=order,
        train_batches=train_batches,
        val_batches=build_loader(val_images, device=device, **loader),
        batch_size=params.loader.batch_size,
        num_classes=len(manifest.classes),
        best_metric=params.training.best_metric,
        device=device,
        numerics=numerics,
        seed=params.training.seed,
        progress=TrainingProgress(num_epochs=num_epochs, images_per_epoch=len(train_images)),
        save_point=lambda state: None,
    )
    return training, begin_state(
        network, optimizer, lr_scheduler, steps_per_epoch=steps_per_epoch, device=device
    )


def calibrate_now(training: Training, state: TrainingState) -> Calibration:
    """Return the calibration of the network as it is."""
    return calibrate(
        *compute_logits(
            state.network, training.val_batches, device=training.device, numerics=training.numerics
        )
    )


def describe_checkpoint(
    kept: Best, params: Params, manifest: Manifest, transforms: Transforms, numerics: Numerics
) -> Checkpoint:
    """Return all that is needed to use the weights of an epoch, and where they came from."""
    return Checkpoint(
        version=1,
        network=params.network.chosen(),
        classes=manifest.classes,
        image=manifest.image,
        preprocessing=without_random(transforms),
        numerics=numerics,
        calibration=kept.calibration,
        epoch=kept.record,
        num_epochs=params.training.num_epochs,
        seed=params.training.seed,
        dataset_sha256=sha256_of(PREPARED / "manifest.json"),
        weights_sha256=hash_weights(kept.weights),
        libraries={"python": platform.python_version(), "torch": torch.__version__},
    )
