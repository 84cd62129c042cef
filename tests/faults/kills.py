"""Runs that are stopped in every way, and what must be true of them afterwards."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from stages.doctor.processes import find_dvc_processes
from tests.pipeline.project import Project

AT_FILE_EVENT = Path(__file__).parent / "at_file_event"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TARGETS = ("stage", "dvc", "group")
COMMANDS = {
    "repro": "dvc repro --force --single-item train",
    "exp run": "dvc exp run --force --single-item train",
    "--temp": "dvc exp run --temp --force --single-item train",
    "queue": "dvc exp run --queue --force --single-item train && dvc queue start >/dev/null 2>&1",
}
_SECONDS_TO_END = 60.0


@dataclass(frozen=True)
class Fault:
    """One way to stop one run."""

    command: str
    """A key of COMMANDS."""

    number: signal.Signals
    target: str
    """Who gets the signal; `file event` for the stage itself, at one of the files it touches."""

    at: float
    """Seconds after the stage began; for a file event, its number."""

    def __str__(self) -> str:
        when = f"at file {self.at:.0f}" if self.target == "file event" else f"after {self.at:.2f} s"
        return f"{self.command}, {self.number.name} to {self.target} {when}"


@dataclass(frozen=True)
class Outcome:
    """What was found wrong after a fault, and whether it came while the stage ran."""

    problems: tuple[str, ...]
    was_stopped: bool
    was_resumed: bool


def draw_faults(count: int, *, seed: int, num_file_events: int, num_seconds: float) -> Iterator[Fault]:
    """Yield faults: every file event in turn by SIGKILL, and as many at random times in all other ways."""
    generator = random.Random(seed)
    for number in range(count):
        command = list(COMMANDS)[number // 2 % len(COMMANDS)]
        if number % 2:
            event = 1 + (number // 2) % num_file_events
            yield Fault(command, signal.SIGKILL, "file event", event)
        else:
            yield Fault(
                command,
                generator.choice(SIGNALS),
                generator.choice(TARGETS),
                generator.uniform(0.0, num_seconds),
            )


def inject(project: Project, fault: Fault, expected: dict[str, str]) -> Outcome:
    """Stop a run, look at what it left, run again until it is done, and compare.

    Args:
        project: Prepared, and trained once.
        fault: How to stop it.
        expected: SHA-256 of every output of an undisturbed run.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DVC_EXP", "DVC_ROOT"))
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    if fault.target == "file event":
        environment |= {
            "PYTHONPATH": str(AT_FILE_EVENT),
            "DARKROOM_FAULT": f"{int(fault.number)}:{fault.at:.0f}",
        }
    dvc = subprocess.Popen(
        ["/bin/sh", "-c", _as_one_process(COMMANDS[fault.command])],
        cwd=project.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    if fault.target != "file event":
        stop(project, fault, dvc)
    printed, _ = dvc.communicate(timeout=_SECONDS_TO_END)
    problems = []
    deadline = time.monotonic() + 10
    while find_stages(project):
        if time.monotonic() > deadline:
            problems.append("an orphan goes on")
            for process in find_stages(project):
                os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.05)
    if fault.command == "queue":
        wait_for_queue(project)
        was_stopped = any(code != 0 for code in end_queue(project))
    else:
        was_stopped = dvc.returncode != 0
    if was_stopped and "Traceback" in printed:
        problems.append("a traceback: " + printed.strip().splitlines()[-1])
    # What an experiment left in params.yaml and outs is not at issue here.
    project.run("git checkout --quiet params.yaml dvc.lock")
    found = list_outputs(project)
    if any(expected.get(name) != sha256 for name, sha256 in found.items()):
        problems.append("a partial output was published")
    has_state = has_saved_state(project)
    # By force: DVC's run cache has the undisturbed result, and would hand that out.
    again = project.run(COMMANDS["repro"] if was_stopped else "true")
    problems += [
        f"{name} is not that of an undisturbed run"
        for name in sorted(expected.keys() | list_outputs(project).keys())
        if list_outputs(project).get(name) != expected.get(name)
    ]
    was_resumed = "train: goes on" in again
    if was_stopped and has_state and not was_resumed:
        problems.append("a saved state was not gone on from")
    return Outcome(tuple(problems), was_stopped, was_resumed)


def _as_one_process(command: str) -> str:
    """Return a command for a shell that does not stay between dvc and whoever started it."""
    return command if "&&" in command else f"exec {command}"


def has_saved_state(project: Project) -> bool:
    """Return whether a run has saved its state and not come to its result."""
    states = (project.root / ".dvc/tmp/darkroom/resume").glob("*/state-*.safetensors")
    return any(not (path.parent / "result.json").exists() for path in states)


def wait_for_queue(project: Project) -> None:
    """Wait until the queue's task is done with, or nobody is left to do it."""
    deadline = time.monotonic() + _SECONDS_TO_END
    results = project.root / ".dvc/tmp/exps/celery/result"
    while time.monotonic() < deadline and not any(results.glob("celery-task-meta-*")):
        if not find_dvc_processes(project.root):
            return
        time.sleep(0.1)


def end_queue(project: Project) -> list[int | None]:
    """End the worker, which would wait for more, empty the queue, and return the exit status of its tasks."""
    for process in find_dvc_processes(project.root):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    experiments = project.root / ".dvc/tmp/exps"
    codes = [json.loads(path.read_bytes())["returncode"] for path in experiments.glob("run/*/*.json")]
    shutil.rmtree(experiments, ignore_errors=True)
    for name in ("stash", "failed"):
        project.run(f"git update-ref -d refs/exps/celery/{name}")
    return codes


def stop(project: Project, fault: Fault, dvc: subprocess.Popen[str]) -> None:
    """Wait for the stage and for the fault's time, then send its signal."""
    deadline = time.monotonic() + _SECONDS_TO_END
    while not (stages := find_stages(project)) and time.monotonic() < deadline:
        if dvc.poll() is not None and fault.command != "queue":
            return  # it ended before
        time.sleep(0.01)
    time.sleep(fault.at)
    try:
        if fault.target == "group":
            os.killpg(os.getpgid(stages[0]), fault.number)
        else:
            os.kill(stages[0] if fault.target == "stage" else find_dvc_of(stages[0]), fault.number)
    except (ProcessLookupError, psutil.NoSuchProcess, IndexError):
        pass  # it was done before


def find_dvc_of(stage: int) -> int:
    """Return the process of dvc that started a stage, be there a shell between them or not."""
    parents = psutil.Process(stage).parents()
    return next(int(parent.pid) for parent in parents if any("dvc" in part for part in parent.cmdline()))


def find_stages(project: Project) -> list[int]:
    """Return the processes that run train for this project, also in its temporary experiments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            is_below = (folder / "cwd").readlink().is_relative_to(project.root.resolve())
        except OSError:
            continue  # ended just now
        if b"stages.train" in arguments and is_below and b"-c" not in arguments:
            found.append(int(folder.name))
    return found


def list_outputs(project: Project) -> dict[str, str]:
    """Return the SHA-256 of every output of train."""
    return {
        name: sha256
        for name, sha256 in project.hashes().items()
        if name.startswith(("data/model/", "data/dvclive/", "data/metrics/train.json"))
    }
