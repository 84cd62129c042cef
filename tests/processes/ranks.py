"""Runs of one and of several processes, forked from this one, which has imported torch already."""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.params.read import read_params
from stages.shared.inputs import record_inputs
from stages.train.cluster import Place, train_rank
from stages.train.stage import train
from tests.train.project import hash_files, write_params

_SECONDS = 1500.0


def train_on(folder: Path, count: int, **changes: Any) -> dict[str, str]:
    """Train in so many processes, and return the SHA-256 of every file in data/model.

    Args:
        folder: A project, the current folder.
        count: Processes.
        changes: Of params.yaml, as `write_params` takes them.
    """
    write_params(folder, **{**changes, "cluster__processes": count})
    with tempfile.TemporaryDirectory() as meeting:

        def run_rank(rank: int) -> None:
            params = read_params()
            inputs = record_inputs("train", params, read_params)
            if count == 1:
                train(params, inputs)
            else:
                train_rank(Place(rank, count, f"file://{meeting}/ranks"), params, inputs)

        wait_for([fork(lambda rank=rank: run_rank(rank)) for rank in range(count)])  # type: ignore[misc]
    return hash_files(folder / "data" / "model")


def fork(run: Callable[[], None]) -> int:
    """Run a function in a forked process, and return the number of that; it exits with 1 if it raises."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    status = 1
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            sys.stdout = nowhere
            run()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait_for(processes: list[int]) -> None:
    """Wait for the end of forked processes; if one fails, end the others."""
    running, deadline = set(processes), time.monotonic() + _SECONDS
    failed: Mapping[int, int] = {}
    while running and not failed and time.monotonic() < deadline:
        ended = {process: os.waitpid(process, os.WNOHANG) for process in running}
        running -= {process for process, (found, _) in ended.items() if found}
        failed = {process: status for process, (found, status) in ended.items() if found and status}
        time.sleep(0.01)
    for process in running:
        os.kill(process, 9)
        os.waitpid(process, 0)
    assert not failed, f"rank {min(map(processes.index, failed))} failed"
    assert not running, "the ranks did not end"
