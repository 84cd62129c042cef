"""Starting the processes of a run on this machine, and ending them.

    python -m stages.train            follows dvc, starts the others, says how they ended
      rank 0                          trains, saves, prints, publishes
      rank 1, ...                     train

Each follows the process that started it. The first one needs no torch. Whatever ends a rank, the others
cannot go on without it and are ended; what was saved stays, and any number of processes can resume from it.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from schemas.params import Params
from stages.shared.errors import InputError, explain_end_of_stage
from stages.shared.inputs import StageInputs
from stages.shared.process import import_without_gc, keep_freed_memory, limit_spinning
from stages.shared.stopping import (
    STOPPED,
    Stopped,
    defer_stops,
    exit_if_orphaned,
    hold_requests,
    is_stop_requested,
    watch_for_stops,
)

_LOOK_EVERY_SECONDS = 0.1

_SECONDS_FOR_REPORTS = 1.0
"""Of what all ranks find, rank 0 shall say it, and it may find it a little later than another."""


class Place(NamedTuple):
    """Which process of a run this is."""

    rank: int
    """Counted from 0."""

    num_processes: int
    meet_at: str
    """Where all of them meet: file:///a/file/that/is/not/there, or tcp://host:port of rank 0."""


class _Rank(NamedTuple):
    process: SpawnProcess
    reports: Connection
    """What it says when it ends: `wrong` or `stopped`, and a message."""


def train_rank(place: Place, params: Params, inputs: StageInputs) -> None:
    """Train as one of several processes; all of them call this, each in a process of its own.

    Only rank 0 prints, saves and publishes. A request to stop of any, which `is_stop_requested` finds, stops
    all of them after the same step.

    Raises:
        InputError: Something that the user gave does not work.
        Stopped: A process was asked to stop; the state is saved.
    """
    import torch

    from stages.train.ranks import Group
    from stages.train.stage import train
    from stages.vision.runtime import choose_device

    device = choose_device(params.training.device, place="params.yaml: training.device")
    if device.type == "cuda":
        torch.cuda.set_device(place.rank % torch.cuda.device_count())
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(sys.stdout if place.rank == 0 else nowhere),
    ):
        # A process that waits for the others here runs no signal handler: none may leave before all have met.
        with defer_stops():
            group = Group(place.rank, place.num_processes, meet_at=place.meet_at, device=device)
            is_stopping = group.any(is_stop_requested())
        if is_stopping:
            raise Stopped("stopped; nothing was published")
        train(params, inputs, group)
        group.close()


def train_here(params: Params, inputs: StageInputs) -> None:
    """Train in the processes that params.yaml asks for, on this machine.

    Raises:
        InputError: What a rank says is wrong, or that it was killed, and which.
        Stopped: The stage was asked to stop.
    """
    check_cores(params)
    if "GLOO_SOCKET_IFNAME" not in os.environ:  # nobody outside is to be reached, or to reach this
        os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    with tempfile.TemporaryDirectory(prefix="darkroom-", ignore_cleanup_errors=True) as folder:
        ranks: list[_Rank] = []
        with defer_stops(), exit_if_orphaned():
            try:
                ranks += _start(params, inputs, meet_at=f"file://{folder}/ranks")
                _await(ranks)
            finally:
                for rank in ranks:
                    rank.process.kill()
                    rank.process.join()


def check_cores(params: Params) -> None:
    """Check that each process has a core of its own.

    Raises:
        InputError: There are fewer.
    """
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if params.cluster.processes > num_cores:
        raise InputError(
            f"params.yaml: cluster.processes: found {params.cluster.processes}; allowed: at most "
            f"{num_cores}, the cores of this machine"
        )


def check_gpus(params: Params) -> None:
    """Check that each process has a GPU of its own, if they train on GPUs.

    Raises:
        InputError: There are fewer.
    """
    import torch

    from stages.vision.runtime import choose_device

    device = choose_device(params.training.device, place="params.yaml: training.device")
    if device.type == "cpu":
        return
    num_gpus = torch.cuda.device_count() if device.type == "cuda" else 1
    if params.cluster.processes > num_gpus:
        raise InputError(
            f"params.yaml: cluster.processes: found {params.cluster.processes}; allowed: at most {num_gpus}, "
            f"the GPUs of this machine, or training.device: cpu"
        )


def _start(params: Params, inputs: StageInputs, *, meet_at: str) -> list[_Rank]:
    # By spawn, for CUDA cannot be used in a process that was forked, and a fork server would end by the
    # signals that a whole process group gets, and with it those that it started.
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # which would let requests through again
    ranks = []
    with hold_requests():
        for rank in range(params.cluster.processes):
            ours, theirs = context.Pipe(duplex=False)
            place = Place(rank, params.cluster.processes, meet_at)
            process = context.Process(
                target=run_rank, args=(place, params, inputs, os.getpid(), theirs), name=f"rank {rank}"
            )
            process.start()
            theirs.close()
            ranks.append(_Rank(process, ours))
    return ranks


def run_rank(place: Place, params: Params, inputs: StageInputs, parent: int, reports: Connection) -> None:
    """Be a rank, in a process of its own.

    Args:
        place: Which one.
        params: Of the stage.
        inputs: Of the stage.
        parent: The process that started this one, which is followed.
        reports: Takes what it says when it ends: `wrong` or `stopped`, and a message.
    """
    keep_freed_memory()
    limit_spinning()
    status = 1
    try:
        with defer_stops(), watch_for_stops(parent=parent):  # until train_rank has met the others
            with import_without_gc():
                check_gpus(params)
                import stages.train.stage  # noqa: F401
            train_rank(place, params, inputs)
        return
    except Stopped as stopped:
        status = STOPPED
        reports.send(("stopped", str(stopped)))
    except Exception as error:
        message = explain_end_of_stage(error)
        if is_stop_requested():  # whatever that became on its way up through others' code
            status = STOPPED
            reports.send(("stopped", "stopped; nothing was published"))
        elif message is not None:
            reports.send(("wrong", message))
        else:
            traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # others of torch's threads may still wait for ranks that are gone


def _await(ranks: Sequence[_Rank]) -> None:
    """Wait until all ranks have ended well.

    Raises:
        InputError: One has not; the others may still run.
        Stopped: The stage was asked to stop.
    """
    was_told = False
    while running := [rank for rank in ranks if rank.process.is_alive()]:
        connection.wait([rank.process.sentinel for rank in running], timeout=_LOOK_EVERY_SECONDS)
        if is_stop_requested() and not was_told:
            was_told = True
            for rank in running:
                rank.process.terminate()
        codes = [rank.process.exitcode for rank in ranks]
        failed = [number for number, code in enumerate(codes) if code not in (None, 0, STOPPED)]
        if failed and not is_stop_requested():
            raise InputError(_explain_failure(ranks, failed[0]))
        if failed or (STOPPED in codes and codes[0] is not None):
            break  # rank 0 has saved what there is
    if is_stop_requested() or any(rank.process.exitcode == STOPPED for rank in ranks):
        kind, message = _read_report(ranks[0])
        raise Stopped(message if kind == "stopped" else "stopped; nothing was published")


def _explain_failure(ranks: Sequence[_Rank], first: int) -> str:
    deadline = time.monotonic() + _SECONDS_FOR_REPORTS
    while ranks[0].process.is_alive() and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_SECONDS)
    of_ranks = {number: _read_report(rank) for number, rank in enumerate(ranks)}
    if of_ranks[0][0] == "wrong":
        return of_ranks[0][1]
    kind, message = of_ranks[first]
    name = f"train: rank {first} of {len(ranks)}"
    if kind == "wrong":
        return f"{name}: {message}"
    code = ranks[first].process.exitcode
    assert code is not None, "it has ended"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "failed; its traceback is above"
    reason = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"{name} {how}{reason}; the same command resumes from the last saved state"


def _read_report(rank: _Rank) -> tuple[str, str]:
    try:
        if rank.reports.poll():
            kind, message = rank.reports.recv()
            return kind, message
    except EOFError:
        pass
    return "", ""
