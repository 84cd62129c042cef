"""Starting the processes of a run, what ends them, and what is said of it."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from schemas.params import find_conflicts
from stages.params.read import read_params
from stages.shared import stopping
from stages.shared.errors import InputError
from stages.shared.stopping import STOPPED, Stopped, hold_requests
from stages.train import cluster
from stages.train.cluster import _await, _Rank, check_cores
from tests.train.project import write_params


def make_params(folder: Path, *, processes: int, parts: int = 8) -> Any:
    """Return parameters with so many processes and parts of a batch."""
    write_params(folder, cluster__processes=processes, training__accumulation_steps=parts)
    return read_params(folder / "params.yaml")


@pytest.mark.parametrize(
    ("processes", "parts", "allowed"),
    [(3, 6, "a power of two"), (4, 6, "allowed: 1, 2, "), (2, 1, "allowed: 1, ")],
)
def test_processes_must_divide_the_parts(tmp_path: Path, processes: int, parts: int, allowed: str) -> None:
    """One line names the key, the value and what is allowed, before anything begins."""
    with pytest.raises(InputError, match=rf"cluster\.processes: found {processes}; .*{allowed}") as raised:
        make_params(tmp_path, processes=processes, parts=parts)
    assert str(raised.value).count("\n") == 0


def test_processes_that_divide_the_parts_are_allowed(tmp_path: Path) -> None:
    """Up to the largest power of two that does."""
    for processes in (1, 2, 4):
        assert not find_conflicts(make_params(tmp_path, processes=processes, parts=12))


def test_each_process_needs_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More processes than cores are refused."""
    params = make_params(tmp_path, processes=4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    check_cores(params)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    with pytest.raises(InputError, match=r"found 4; allowed: at most 2, the cores of this machine$"):
        check_cores(params)


Start = Callable[..., _Rank]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return what starts a process that stands for a rank; all are ended after the test."""
    context = multiprocessing.get_context("fork")
    started = []

    def start_rank(end: Callable[[Connection], None]) -> _Rank:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=end, args=(theirs,))
        process.start()
        theirs.close()
        started.append(process)
        return _Rank(process, ours)  # type: ignore[arg-type] # forked, not spawned

    yield start_rank
    for process in started:
        process.kill()
        process.join()


def end_well(reports: Connection) -> None:
    """End as a rank that has done its part."""


def wait_long(reports: Connection) -> None:
    """Wait as for ranks that are gone."""
    time.sleep(60)


def die(reports: Connection) -> None:
    """End as a rank that was killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def find_wrong(reports: Connection) -> None:
    """End as a rank that found something wrong."""
    reports.send(("wrong", "optimizer.lr is too high"))
    os._exit(1)


def fail(reports: Connection) -> None:
    """End as a rank with a bug."""
    os._exit(1)


def be_stopped(reports: Connection) -> None:
    """End as a rank that was asked to stop and has saved its state."""
    reports.send(("stopped", "train: stopped after epoch 1"))
    os._exit(STOPPED)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((wait_long, die), r"^train: rank 1 of 2 was killed by SIGKILL, as when memory .* resumes"),
        ((die, wait_long), r"^train: rank 0 of 2 was killed by SIGKILL"),
        ((wait_long, find_wrong), r"^train: rank 1 of 2: optimizer\.lr is too high$"),
        ((find_wrong, find_wrong), r"^optimizer\.lr is too high$"),
        ((wait_long, fail), r"^train: rank 1 of 2 failed; its traceback is above"),
    ],
)
def test_a_rank_that_is_gone_ends_the_stage(
    start: Start, monkeypatch: pytest.MonkeyPatch, ends: tuple[Any, Any], said: str
) -> None:
    """At once, in one line that names it; what all find wrong is said as one process would say it."""
    monkeypatch.setattr(cluster, "_SECONDS_FOR_REPORTS", 0.2)
    begin = time.monotonic()
    with pytest.raises(InputError, match=said) as raised:
        _await([start(end) for end in ends])
    assert "\n" not in str(raised.value)
    assert time.monotonic() - begin < 10


def test_ranks_that_end_well_end_the_stage(start: Start) -> None:
    """Nothing is said."""
    _await([start(end_well), start(end_well)])


def test_a_stopped_run_says_what_its_first_rank_says(start: Start) -> None:
    """It has saved the state."""
    with pytest.raises(Stopped, match=r"^train: stopped after epoch 1$"):
        _await([start(be_stopped), start(be_stopped)])


def wait_for_request(reports: Connection) -> None:
    """Stop when asked to."""
    signal.signal(signal.SIGTERM, lambda *_: be_stopped(reports))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    time.sleep(60)


def test_a_request_reaches_the_ranks(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it comes before they watch for it: they end in an orderly way, and say what they have saved."""
    monkeypatch.setattr(stopping._Requests, "is_stopping", True)
    with hold_requests():
        ranks = [start(wait_for_request), start(wait_for_request)]
    with pytest.raises(Stopped, match="after epoch 1"):
        _await(ranks)
