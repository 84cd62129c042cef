"""The train stage, top to bottom."""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from schemas.params import Params
from schemas.shared.image import ImageForm
from schemas.shared.manifest import Manifest
from schemas.train.train_metrics import TrainMetrics
from schemas.train.training import Training as TrainingParams
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import EndedBy, History
from schemas.vision.transforms import Transforms
from stages.shared.errors import InputError
from stages.shared.files import check_free_space, publish_folder, sha256_of, write_json, write_sealed_json
from stages.shared.inputs import NEUTRAL, StageInputs
from stages.shared.paths import DVCLIVE, MAKE_PREPARED, METRICS, MODEL, PREPARED
from stages.shared.stopping import defer_stops, exit_if_orphaned
from stages.train.build import build_training, number_or_none
from stages.train.calibration import calibrate
from stages.train.compiling import describe_compiler
from stages.train.curves import refuse_missing_commit, write_curves
from stages.train.ending import explain_end
from stages.train.loop import Training, copy_weights, run_epoch
from stages.train.resume import open_saved_state
from stages.train.state import Best, TrainingState
from stages.train.transfer import Phases
from stages.vision.checkpoint import hash_weights, write_checkpoint
from stages.vision.dataset import read_manifest
from stages.vision.inference import compute_logits
from stages.vision.runtime import (
    describe_device,
    describe_machine,
    list_libraries,
)
from stages.vision.transforms import (
    fill_in_statistics,
    without_random,
)

Number = TypeVar("Number", int, float)

_ENDED = {
    "num_epochs": "",
    "early_stopping": "; ended by training.early_stopping_epochs",
    "time_budget": "; ended by training.max_minutes",
}

Weights = dict[str, Tensor]

# What the checkpoint keeps of params.yaml: all that can change its weights. What is neutral cannot.
_KEPT_SECTIONS = {
    *("transforms", "loader", "network", "transfer", "loss", "optimizer", "lr_scheduler", "training")
}
_NOT_KEPT: Mapping[str, set[str]] = {
    section: {key.removeprefix(f"{section}.") for key in NEUTRAL if key.startswith(f"{section}.")}
    for section in ("loader", "training")
}


def train(params: Params, inputs: StageInputs) -> None:
    """Train as params.yaml says, on from where a stopped run of the same inputs was."""
    manifest = read_manifest(PREPARED)
    refuse_other_form(manifest.image, params)
    refuse_missing_commit()
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    training, state = build_training(params, manifest, transforms)
    refuse_small_disk(training)
    # Features repeat from epoch to epoch where no random transform changes the images.
    repeats = not any(transform.random for transform in transforms)
    phases = Phases(training, state.network, params.transfer, folder=PREPARED.parent if repeats else None)
    with (
        open_saved_state(
            describe_run(inputs, training, libraries=list_libraries(params.network.name, transforms)),
            params.training,
        ) as saved,
        defer_stops(),
        training.progress,
    ):
        if saved.restore(state):
            training.progress.skip(state.epoch * len(training.train_images) + state.num_images)
            print(f"train: goes on {state.describe_place()}")
        while find_end(state, params.training) is None:
            run_epoch(phases.at(state.epoch), state, save_point=saved.save_point)
        checkpoints = describe_checkpoints(training, state, params, manifest, transforms, inputs)
        saved.save_point(state)
        publish(checkpoints, state, params, inputs)
        saved.note_result((MODEL, DVCLIVE))


def refuse_small_disk(training: Training) -> None:
    """Refuse to train where two checkpoints and two saved states do not fit.

    Raises:
        InputError: The disk is too full.
    """
    weights = sum(tensor.nbytes for tensor in training.network.state_dict().values())
    # A state: weights, at most two values of the optimizer for each, the average, and the best so far.
    check_free_space(MODEL, num_bytes=2 * weights, kept_bytes=2 * 5 * weights)


def describe_run(
    inputs: StageInputs, training: Training, *, libraries: Mapping[str, str]
) -> dict[str, object]:
    """Return all that a result depends on, and what a saved state belongs to."""
    return {
        "params": dict(inputs.values),
        "code": dict(inputs.code),
        "data": sha256_of(PREPARED / "manifest.json"),
        "initial_weights": training.initial_weights.sha256 if training.initial_weights else "none",
        "libraries": dict(libraries),
        "machine": describe_machine(training.device),
        "numerics": training.numerics.model_dump(),
        "compiler": describe_compiler() if training.is_compiled else "none",
    }


def publish(
    checkpoints: Mapping[str, tuple[Checkpoint, Weights]],
    state: TrainingState,
    params: Params,
    inputs: StageInputs,
) -> None:
    """Write the outputs, unless the inputs are no longer those that they were made from."""
    best, _ = checkpoints["best"]
    ended_by = find_end(state, params.training)
    assert ended_by is not None, "training is over"
    history = History(
        best_metric=params.training.best_metric,
        best_epoch=best.epoch.epoch,
        ended_by=ended_by,
        is_repeatable=params.training.max_minutes == "none",
        epochs=tuple(state.history),
    )
    metrics = TrainMetrics(
        best_epoch=best.epoch.epoch,
        num_parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        train_loss=best.epoch.train_loss,
        val=best.epoch.val,
        fingerprint=best.inputs.fingerprint,
    )
    with (
        exit_if_orphaned(),
        publish_folder(MODEL) as folder,
        publish_folder(DVCLIVE) as curves,
    ):
        for name, (checkpoint, weights) in checkpoints.items():
            write_checkpoint(folder / f"{name}.safetensors", checkpoint, weights)
        write_sealed_json(folder / "history.json", history)
        write_curves(curves, state.history)
        inputs.check_unchanged()
    write_json(METRICS / "train.json", metrics)
    print(
        f"train: best epoch {best.epoch.epoch} of {len(state.history)}, "
        f"validation accuracy {best.epoch.val.accuracy:.2%}{_ENDED[ended_by]}"
    )
    if params.training.max_minutes != "none":
        print(
            "train: a run with training.max_minutes need not give the same bytes again; history.json says so"
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
            f"re-create it with: {MAKE_PREPARED}"
        )


def find_end(state: TrainingState, training: TrainingParams) -> EndedBy | None:
    """Return why training ends where it is, or None if another epoch follows."""
    max_minutes = number_or_none(training.max_minutes)
    return explain_end(
        len(state.history),
        num_epochs=training.num_epochs,
        best_epoch=state.best.record.epoch if state.best else 0,
        patience_epochs=number_or_none(training.early_stopping_epochs),
        seconds=state.clock.seconds,
        max_seconds=None if max_minutes is None else 60 * max_minutes,
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
    with state.kept_weights():
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
            is_compiled=training.is_compiled,
            calibration=kept.calibration,
            epoch=kept.record,
            num_epochs=params.training.num_epochs,
            seed=params.training.seed,
            initial_weights=training.initial_weights,
            dataset_sha256=dataset_sha256,
            weights_sha256=hash_weights(kept.weights),
            inputs=inputs.describe(data_sha256=dataset_sha256),
            device=describe_device(training.device),
            libraries=list_libraries(params.network.name, transforms),
            parameters=Params.model_dump(params, mode="json", include=_KEPT_SECTIONS, exclude=_NOT_KEPT),
        )
        checkpoints[name] = (checkpoint, kept.weights)
    return checkpoints
