"""The train stage, top to bottom."""

from collections.abc import Mapping

import torch
from torch import Tensor

from schemas.params import Params
from schemas.shared.image import ImageForm
from schemas.shared.manifest import Manifest
from schemas.train.train_metrics import TrainMetrics
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import Transforms
from stages.shared.errors import InputError
from stages.shared.files import publish_folder, sha256_of, write_json, write_sealed_json
from stages.shared.inputs import StageInputs
from stages.shared.paths import DVCLIVE, METRICS, MODEL, PREPARED
from stages.shared.stopping import defer_stops, orphans_leave
from stages.train.calibration import calibrate
from stages.train.curves import refuse_missing_commit, write_curves
from stages.train.loop import Training, copy_weights, run_epoch
from stages.train.losses import build_loss
from stages.train.lr_scheduler import build_lr_scheduler
from stages.train.optimizer import build_optimizer
from stages.train.order import EpochOrder
from stages.train.progress import TrainingProgress
from stages.train.resume import open_saved_state
from stages.train.state import Best, TrainingState, begin_state
from stages.vision.checkpoint import hash_weights, write_checkpoint
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.inference import compute_logits
from stages.vision.networks import build_network
from stages.vision.runtime import (
    choose_device,
    describe_device,
    describe_machine,
    list_libraries,
    make_deterministic,
)
from stages.vision.transforms import build_transforms, fill_in_statistics, without_random

Weights = dict[str, Tensor]


def train(params: Params, inputs: StageInputs) -> None:
    """Train as params.yaml says, on from where a stopped run of the same inputs was."""
    manifest = read_manifest(PREPARED)
    refuse_other_form(manifest.image, params)
    refuse_missing_commit()
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    training, state = build_training(params, manifest, transforms)
    with (
        open_saved_state(describe_run(inputs, training.device), params.training) as saved,
        defer_stops(),
        training.progress,
    ):
        if saved.restore(state):
            training.progress.skip(state.epoch * len(training.train_images) + state.num_images)
            print(
                f"train: goes on in epoch {state.epoch + 1}, after step {state.step} of {len(state.losses)}"
            )
        while state.epoch < params.training.num_epochs:
            run_epoch(training, state, save_point=saved.save_point)
        checkpoints = describe_checkpoints(training, state, params, manifest, transforms, inputs)
        saved.save_point(state)
        publish(checkpoints, state, params, inputs)
        saved.note_result((MODEL, DVCLIVE))


def describe_run(inputs: StageInputs, device: torch.device) -> dict[str, object]:
    """Return all that a result depends on, and what a saved state belongs to."""
    return {
        "params": dict(inputs.values),
        "code": dict(inputs.code),
        "data": sha256_of(PREPARED / "manifest.json"),
        "libraries": list_libraries(),
        "machine": describe_machine(device),
    }


def publish(
    checkpoints: Mapping[str, tuple[Checkpoint, Weights]],
    state: TrainingState,
    params: Params,
    inputs: StageInputs,
) -> None:
    """Write the outputs, unless the inputs are no longer those that they were made from."""
    best, _ = checkpoints["best"]
    history = History(
        best_metric=params.training.best_metric, best_epoch=best.epoch.epoch, epochs=tuple(state.history)
    )
    metrics = TrainMetrics(
        best_epoch=best.epoch.epoch,
        num_parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        train_loss=best.epoch.train_loss,
        val=best.epoch.val,
        fingerprint=best.inputs.fingerprint,
    )
    with (
        orphans_leave(),
        publish_folder(MODEL) as folder,
        publish_folder(DVCLIVE) as curves,
    ):
        for name, (checkpoint, weights) in checkpoints.items():
            write_checkpoint(folder / f"{name}.safetensors", checkpoint, weights)
        write_sealed_json(folder / "history.json", history)
        write_curves(curves, state.history)
        inputs.refuse_changes()
    write_json(METRICS / "train.json", metrics)
    print(
        f"train: best epoch {best.epoch.epoch} of {len(state.history)}, "
        f"validation accuracy {best.epoch.val.accuracy:.2%}"
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
    num_epochs, steps_per_epoch = params.training.num_epochs, len(train_batches)
    lr_scheduler = build_lr_scheduler(
        params.lr_scheduler, optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch
    )
    training = Training(
        criterion=criterion,
        train_images=train_images,
        train_order=order,
        train_batches=train_batches,
        val_batches=build_loader(val_images, **loader),
        batch_size=params.loader.batch_size,
        num_classes=len(manifest.classes),
        best_metric=params.training.best_metric,
        device=device,
        numerics=numerics,
        seed=params.training.seed,
        progress=TrainingProgress(num_epochs=num_epochs, images_per_epoch=len(train_images)),
    )
    return training, begin_state(
        network, optimizer, lr_scheduler, steps_per_epoch=steps_per_epoch, device=device
    )


def describe_checkpoints(
    training: Training,
    state: TrainingState,
    params: Params,
    manifest: Manifest,
    transforms: Transforms,
    inputs: StageInputs,
) -> dict[str, tuple[Checkpoint, Weights]]:
    """Return the best and the last epoch: all that is needed to use the weights, and the weights."""
    assert state.best is not None, "there is at least one epoch"
    answers = compute_logits(
        state.network, training.val_batches, device=training.device, numerics=training.numerics
    )
    last = Best(state.history[-1], calibrate(*answers), copy_weights(state.network))
    dataset_sha256 = sha256_of(PREPARED / "manifest.json")
    checkpoints = {}
    for name, kept in (("best", state.best), ("last", last)):
        checkpoint = Checkpoint(
            version=1,
            network=params.network.chosen(),
            classes=manifest.classes,
            image=manifest.image,
            preprocessing=without_random(transforms),
            numerics=training.numerics,
            calibration=kept.calibration,
            epoch=kept.record,
            num_epochs=params.training.num_epochs,
            seed=params.training.seed,
            dataset_sha256=dataset_sha256,
            weights_sha256=hash_weights(kept.weights),
            inputs=inputs.describe(data_sha256=dataset_sha256),
            device=describe_device(training.device),
            libraries=list_libraries(),
        )
        checkpoints[name] = (checkpoint, kept.weights)
    return checkpoints
