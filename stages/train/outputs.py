"""What training publishes: two checkpoints, the history of all epochs, metrics, and DVCLive's curves.

Also the record of what a run depends on, made once: checkpoints quote it, and saved states are found by it.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.params import Params
from schemas.shared.inputs import Inputs
from schemas.shared.manifest import Manifest
from schemas.train.training import TrainMetrics, ValMetrics
from schemas.vision.checkpoint import Checkpoint, EndedBy, EpochRecord, History, PretrainedWeights
from schemas.vision.runtime import Numerics
from stages.shared.files import publish_folder, sha256_of, write_json, write_sealed_json
from stages.shared.inputs import NEUTRAL, StageInputs, hash_code, hash_json
from stages.shared.paths import DVCLIVE, METRICS, MODEL, PREPARED, PRETRAINED
from stages.shared.stopping import exit_if_orphaned
from stages.train.build import Run
from stages.train.calibration import calibrate
from stages.train.epoch_table import write_accuracy
from stages.train.loop import predict_validation
from stages.train.ranks import ALONE, Processes
from stages.train.state import Snapshot, take_snapshot
from stages.train.transfer import remark_on_tuning
from stages.vision.checkpoint import hash_weights, write_backbone, write_checkpoint
from stages.vision.features import FeatureStore, open_store
from stages.vision.runtime import describe_device, describe_machine, list_libraries
from stages.vision.transforms import without_random

if TYPE_CHECKING:
    from dvclive.live import Live

_ENDED = {
    "num_epochs": "",
    "early_stopping": "; ended by training.early_stopping_epochs",
    "time_budget": "; ended by training.max_minutes",
}

# What the checkpoint keeps of params.yaml: all that can change its weights. What is neutral cannot.
_KEPT_SECTIONS = {
    *("transforms", "loader", "network", "transfer", "loss", "optimizer", "lr_scheduler", "training")
}
_NOT_KEPT: Mapping[str, set[str]] = {
    section: {key.removeprefix(f"{section}.") for key in NEUTRAL if key.startswith(f"{section}.")}
    for section in ("loader", "training")
}


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """All that the result of a run depends on."""

    inputs: Inputs
    """Hashes of parameters, code and data."""

    pretrained_weights: PretrainedWeights | None
    libraries: Mapping[str, str]
    device: str
    machine: Mapping[str, str]
    numerics: Numerics
    is_compiled: bool

    @property
    def key(self) -> str:
        """Return one SHA-256 of it: runs with the same key end in the same bytes."""
        return hash_json(
            {
                "inputs": self.inputs.model_dump(),
                "pretrained_weights": self.pretrained_weights.sha256 if self.pretrained_weights else None,
                "libraries": dict(self.libraries),
                "machine": dict(self.machine),
                "numerics": self.numerics.model_dump(),
                "is_compiled": self.is_compiled,
            }
        )


def describe_process(record: RunRecord, inputs: StageInputs) -> dict[str, object]:
    """Return what the processes of a run must have in common, by what it is."""
    return {
        "code": hash_json(hash_code(inputs.code_folders)),
        "data": record.inputs.data,
        "pretrained weights": record.pretrained_weights and record.pretrained_weights.sha256,
        **record.libraries,
        **record.machine,
        "key": record.key,
    }


def open_features(record: RunRecord, run: Run, params: Params) -> FeatureStore:
    """Return where the features of a frozen backbone are kept, of this run and others of the same images."""
    return open_store(
        "head input",
        data_sha256=record.inputs.data,
        network=params.network.chosen(),
        preprocessing=run.transforms,
        device=run.training.device,
        numerics=record.numerics,
        say=lambda text: print(f"train: the backbone is frozen; {text}"),
    )


def record_run(run: Run, params: Params, inputs: StageInputs) -> RunRecord:
    """Return the record of a run that is about to begin."""
    return RunRecord(
        inputs=inputs.describe(data_sha256=sha256_of(PREPARED / "manifest.json")),
        pretrained_weights=run.pretrained_weights,
        libraries=list_libraries(params.network.name, run.transforms),
        device=describe_device(run.training.device),
        machine=describe_machine(run.training.device),
        numerics=run.training.numerics,
        is_compiled=params.training.compile,
    )


def snapshot_epochs(run: Run) -> dict[str, Snapshot]:
    """Return the best and the last epoch of a finished run, by the names of their checkpoints."""
    training, state = run.training, run.state
    assert state.best is not None, "there is at least one epoch"
    with state.validation_weights():
        logits, labels = predict_validation(training, state.network, run.phases.whole.val_batches)
        last = take_snapshot(
            state.network, state.history[-1], calibrate(logits, labels, groups=training.val_images.groups)
        )
    return {"best": state.best, "last": last}


def publish(
    snapshots: Mapping[str, Snapshot],
    run: Run,
    record: RunRecord,
    params: Params,
    manifest: Manifest,
    inputs: StageInputs,
    *,
    ended_by: EndedBy,
) -> None:
    """Write all outputs, or none if the inputs changed since the start.

    Raises:
        InputError: They did.
    """
    best, history = snapshots["best"].record, run.state.history
    with (
        exit_if_orphaned(),
        publish_folder(MODEL) as folder,
        publish_folder(DVCLIVE) as curves,
    ):
        for name, snapshot in snapshots.items():
            checkpoint = describe_checkpoint(snapshot, run, record, params, manifest)
            write_checkpoint(folder / f"{name}.safetensors", checkpoint, snapshot.weights)
        if run.backbone is not None:
            write_backbone(folder / PRETRAINED.name, run.backbone)
        history_file = History(
            best_metric=params.training.best_metric,
            best_epoch=best.epoch,
            num_parameters=sum(weights.numel() for weights in run.state.network.parameters()),
            ended_by=ended_by,
            is_repeatable=params.training.max_minutes is None,
            epochs=tuple(history),
        )
        write_sealed_json(folder / "history.json", history_file)
        write_curves(curves, history)
        inputs.check_unchanged()
    val = ValMetrics(loss=best.val.loss, accuracy=best.val.accuracy)
    write_json(METRICS / "train.json", TrainMetrics(val=val))
    print(
        f"train: best epoch {best.epoch} of {len(history)}, "
        f"validation accuracy {write_accuracy(best.val.accuracy)}{_ENDED[ended_by]}"
    )
    remark = remark_on_tuning(history, params.transfer, best_epoch=best.epoch)
    if remark:
        print(f"train: {remark}")
    if params.training.max_minutes is not None:
        print(
            "train: a run with training.max_minutes need not give the same bytes again; history.json says so"
        )


def describe_checkpoint(
    snapshot: Snapshot, run: Run, record: RunRecord, params: Params, manifest: Manifest
) -> Checkpoint:
    """Return a checkpoint's document: all that is needed to use the weights, and where they came from."""
    return Checkpoint(
        version=3,
        network=params.network.chosen(),
        classes=manifest.classes,
        image=manifest.image,
        preprocessing=without_random(run.transforms),
        numerics=record.numerics,
        is_compiled=record.is_compiled,
        calibration=snapshot.calibration,
        epoch=snapshot.record,
        num_epochs=params.training.num_epochs,
        seed=params.training.seed,
        pretrained_weights=record.pretrained_weights,
        dataset_sha256=record.inputs.data,
        weights_sha256=hash_weights(snapshot.weights),
        inputs=record.inputs,
        device=record.device,
        libraries=dict(record.libraries),
        parameters=_list_parameters(params),
    )


def _list_parameters(params: Params) -> dict[str, Any]:
    """Return the parameters that a checkpoint keeps; of an absolute path only the name of the file."""
    kept = Params.model_dump(params, mode="json", include=_KEPT_SECTIONS, exclude=_NOT_KEPT)
    path = Path(params.network.weights_file)
    if path.is_absolute():
        kept["network"]["weights_file"] = path.name
    return kept


def open_curves(folder: Path) -> "Live":
    """Return the DVCLive folder that `dvc plots` reads; it has a file for each metric."""
    # Imported when there is something to write: DVC comes with it, and takes a third of a second.
    from dvclive.live import Live

    class Curves(Live):
        def _init_dvc(self) -> None:
            """Ask nothing of DVC and Git: only an experiment that DVCLive itself saves needs a commit."""

    # DVCLive would rewrite dvc.yaml while the stage runs. The pipeline saves the experiment itself.
    return Curves(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)


def write_curves(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write the curves of all epochs into a folder."""
    with open_curves(folder) as live:
        for record in history:
            _log_epoch(live, record)


@contextmanager
def show_curves(processes: Processes = ALONE) -> Iterator[Callable[[EpochRecord], None]]:
    """Yield what adds an epoch to the curves that one can look at while training runs.

    They are in data/dvclive.partial, in DVCLive's files, and are gone when the block ends: outputs are whole
    or absent. A disk that cannot take them does not end a run that is going well. Of several processes the
    first one writes them.
    """
    if not processes.is_first:
        yield lambda record: None
        return
    folder = DVCLIVE.with_name(f"{DVCLIVE.name}.partial")
    if folder.is_symlink():
        folder.unlink()  # DVCLive would empty the folder that it leads to
    shutil.rmtree(folder, ignore_errors=True)
    live: Live | None = None

    def add(record: EpochRecord) -> None:
        nonlocal live
        with suppress(OSError):
            live = live or open_curves(folder)
            _log_epoch(live, record)

    try:
        yield add
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _log_epoch(live: "Live", record: EpochRecord) -> None:
    live.step = record.epoch
    live.log_metric("lr", record.lr)
    live.log_metric("train/loss", record.train_loss)
    live.log_metric("train/accuracy", record.train_accuracy)
    for name, value in record.val:
        live.log_metric(f"val/{name}", value)
    live.make_summary()
