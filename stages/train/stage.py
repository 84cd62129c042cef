"""The train stage, top to bottom."""

from schemas.params import Params
from stages.shared.errors import InputError
from stages.shared.files import check_free_space
from stages.shared.inputs import StageInputs
from stages.shared.paths import DVCLIVE, MODEL, PREPARED
from stages.shared.stopping import defer_stops
from stages.train.build import Run, build_run
from stages.train.loop import explain_end, run_epoch
from stages.train.outputs import (
    describe_process,
    open_features,
    publish,
    record_run,
    show_curves,
    snapshot_epochs,
)
from stages.train.ranks import ALONE, Processes, check_same
from stages.train.resume import open_saved_state
from stages.vision.dataset import read_manifest
from stages.vision.runtime import explain_device_errors

LESS_MEMORY = "lower loader.batch_size or raise training.accumulation_steps"


def train(params: Params, inputs: StageInputs, processes: Processes = ALONE) -> None:
    """Train as params.yaml says; a run of the same inputs that was stopped is resumed.

    Raises:
        InputError: Something that the user gave does not work; nothing was published.
    """
    manifest = read_manifest(PREPARED)
    with explain_device_errors("train", lambda: LESS_MEMORY):
        run = build_run(params, manifest, processes)
    check_disk(run)
    record = record_run(run, params, inputs)
    if processes.count > 1:
        check_same(processes, describe_process(record, inputs))

    training, state = run.training, run.state
    with (
        open_saved_state(record.key, params.training, processes) as saved,
        explain_device_errors("train", lambda: f"{LESS_MEMORY}; {saved.describe_kept()}"),
        defer_stops(),
        training.progress,
        show_curves(processes) as add_to_curves,
    ):
        run.phases.keep_features(open_features(record, run, params))
        if saved.restore(state):
            training.progress.skip(state.epoch * len(training.train_images) + state.num_images)
            print(f"train: resumes {state.describe_place()}")
            for epoch in state.history:
                add_to_curves(epoch)

        while (ended_by := explain_end(state, params.training, processes)) is None:
            run_epoch(training, state, run.phases.at(state.epoch), save_point=saved.save_point)
            add_to_curves(state.history[-1])

        snapshots = snapshot_epochs(run)
        saved.save_point(state)
        if not processes.is_first:
            return
        try:
            publish(snapshots, run, record, params, manifest, inputs, ended_by=ended_by)
        except InputError as error:
            saved.save(state)
            raise InputError(f"{error}\ntrain: the training of this run is kept until then") from None
        saved.note_result((MODEL, DVCLIVE))


def check_disk(run: Run) -> None:
    """Check that two checkpoints, the pretrained weights and two saved states fit on the disk.

    Raises:
        InputError: They do not.
    """
    weights = sum(tensor.nbytes for tensor in run.state.network.state_dict().values())
    backbone = sum(tensor.nbytes for tensor in (run.backbone or {}).values())
    # A saved state: weights, at most two values of the optimizer for each, the average, and the best so far.
    check_free_space(MODEL, num_bytes=2 * weights + backbone, kept_bytes=2 * 5 * weights)
