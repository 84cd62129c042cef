"""Stops runs in several projects side by side, and counts."""

import multiprocessing
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path

from tests.faults.fault import COMMANDS
from tests.faults.kills import Outcome, set_up, stop_runs
from tests.faults.small_project import make_small_project
from tests.faults.tally import Tally
from tests.pipeline.project import Project

_Report = Outcome | str | None
"""A run; what broke a job off; the end of a job."""

_SECONDS_OF_SILENCE = 1800.0
_BETWEEN_LINES = 20


def kill_runs(folder: Path, *, count: int, seed: int, jobs: int) -> Iterator[Tally]:
    """Stop so many runs of train, and yield what came of those of each command.

    Args:
        folder: To make projects in.
        count: Runs that are stopped.
        seed: Of the ways, and the random times.
        jobs: Projects side by side.
    """
    first = make_small_project(folder / "0", num_epochs=2, num_each=30, save_every_steps=3)
    for job in range(1, jobs):
        shutil.copytree(first.root, folder / f"{job}", symlinks=True)
    spawn = multiprocessing.get_context("spawn")
    reports: Queue[_Report] = spawn.Queue()
    processes = [
        spawn.Process(
            target=_stop_runs_in,
            args=(folder / f"{job}", reports),
            kwargs={"count": len(range(job, count, jobs)), "seed": seed, "job": job, "jobs": jobs},
            daemon=False,  # a daemon must not start processes with multiprocessing, as DVC's queue does
        )
        for job in range(jobs)
    ]
    for process in processes:
        process.start()
    outcomes: list[Outcome] = []
    broken: list[str] = []
    try:
        _collect(reports, outcomes, broken, jobs=jobs)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the jobs have ended
        print("stopped: the table is of what was done", file=sys.stderr)
    finally:
        for process in processes:
            process.terminate()
            process.join()
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield from _count(outcomes, broken)


def _stop_runs_in(
    root: Path, reports: "Queue[_Report]", *, count: int, seed: int, job: int, jobs: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started the jobs ends them
    try:
        rig = set_up(Project(root))
        first_event = 1 + (seed * 17 + job) % rig.num_file_events
        for outcome in stop_runs(
            rig, count=count, seed=seed * 1000 + job, first_event=first_event, event_step=jobs
        ):
            reports.put(outcome)
    except Exception:
        reports.put(traceback.format_exc())
    finally:
        reports.put(None)


def _collect(reports: "Queue[_Report]", outcomes: list[Outcome], broken: list[str], *, jobs: int) -> None:
    start = time.monotonic()
    while jobs:
        report = reports.get(timeout=_SECONDS_OF_SILENCE)
        if report is None:
            jobs -= 1
        elif isinstance(report, str):
            broken.append(report)
        else:
            outcomes.append(report)
            for problem in report.problems:
                print(f"{report.fault or report.command}: {problem}", file=sys.stderr, flush=True)
            num_stopped = sum(outcome.was_stopped for outcome in outcomes)
            if report.was_stopped and num_stopped % _BETWEEN_LINES == 0:
                minutes = (time.monotonic() - start) / 60
                print(f"{num_stopped} stopped in {minutes:.1f} min", file=sys.stderr, flush=True)


def _count(outcomes: list[Outcome], broken: list[str]) -> Iterator[Tally]:
    for command in COMMANDS:
        tally = Tally(f"kills in {command}")
        of_it = [outcome for outcome in outcomes if outcome.command == command]
        for outcome in of_it:
            tally.count(
                not outcome.problems, f"{outcome.fault or 'left alone'}: {'; '.join(outcome.problems)}"
            )
        num_stopped = sum(outcome.was_stopped for outcome in of_it)
        num_resumed = sum(outcome.was_resumed for outcome in of_it)
        num_mended = sum(outcome.was_mended for outcome in of_it)
        num_whole = sum(outcome.fault is None for outcome in of_it)
        tally.note = (
            f"{num_stopped} stopped, {len(of_it) - num_stopped - num_whole} ended all the same, "
            f"{num_whole} left alone; {num_resumed} said they went on from a state, "
            f"{num_mended} needed doctor --fix"
        )
        yield tally
    ways = Counter(
        f"{outcome.fault.number.name} to {outcome.fault.target}"
        for outcome in outcomes
        if outcome.fault and outcome.was_stopped
    )
    events = {
        outcome.fault.at
        for outcome in outcomes
        if outcome.fault and outcome.fault.when == "file" and outcome.was_stopped
    }
    ended = Tally("jobs that broke off", tried=len(broken), wrong=broken)
    ended.note = f"stopped at {len(events)} different file events; " + ", ".join(
        f"{way} {number}" for way, number in sorted(ways.items())
    )
    yield ended
