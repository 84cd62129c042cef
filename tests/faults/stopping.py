"""One run of the real DVC, stopped or left alone."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.faults.fault import AT_FILE_EVENT, COMMANDS, Fault
from tests.faults.forked_dvc import start_dvc, wait_for
from tests.faults.left import Rig, find_stages
from tests.pipeline.project import Project
from tools.doctor.processes import find_dvc_processes, is_alive

_SECONDS_TO_END = 240.0
_SECONDS_TO_LEAVE = 30.0
_SECONDS_TO_SHOW = 10.0


def run_once(
    rig: Rig, command: str, fault: Fault | None, variables: dict[str, str], problems: list[str]
) -> tuple[int, bool]:
    """Run a command, and return its status and whether the signal was sent."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    at_file = fault is not None and fault.when == "file"
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONPATH": str(AT_FILE_EVENT),
        "DARKROOM_FILE_EVENTS": str(rig.events),
        "DARKROOM_FAULT": f"{int(fault.number)}:{fault.at:.0f}:{fault.target}"
        if fault and at_file
        else "0:0",
        "DVC_SITE_CACHE_DIR": f"{rig.project.root}.site",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    rig.events.unlink(missing_ok=True)
    other_runs = set(_list_runs(rig))
    *before, last = COMMANDS[command]
    was_sent = False
    for arguments in before:
        process = start_dvc(arguments, folder=rig.project.root, environment=environment, output=rig.log)
        if (status := _wait(rig, process, "dvc " + " ".join(arguments), problems)) != 0:
            return status, False
    start = time.monotonic()
    process = start_dvc(last, folder=rig.project.root, environment=environment, output=rig.log)
    if fault is None:
        _measure_training(rig, process)
    elif not at_file:
        was_sent = _send(rig, fault, process, start)
    status = _wait(rig, process, f"dvc {' '.join(last)}", problems)
    if command == "queue":
        status = _end_queue(rig, other_runs, problems) or status
    if fault is None:
        rig.run_seconds[command] = time.monotonic() - start
    _await_stages(rig, problems)
    if at_file:
        was_sent = rig.events.exists() and "\nsent\n" in f"\n{rig.events.read_text()}"
    return status, was_sent


def _send(rig: Rig, fault: Fault, dvc: int, start: float) -> bool:
    """Wait for the fault's time, send its signal, and return whether there still was somebody to get it."""
    duration = rig.run_seconds[fault.command]
    if fault.when == "training":
        _await_training(rig, dvc)
        start, duration = time.monotonic(), rig.training_seconds
    time.sleep(max(0.0, start + fault.at * duration - time.monotonic()))
    try:
        if fault.command != "queue" and fault.target in ("dvc", "group"):
            (os.killpg if fault.target == "group" else os.kill)(dvc, fault.number)
            return True
        stages = find_stages(rig.project)
        if not stages:
            return False
        if fault.target == "group":
            os.killpg(os.getpgid(stages[0]), fault.number)
        elif fault.target == "dvc":
            os.kill(_find_dvc_of(stages[0]), fault.number)
        else:
            os.kill(stages[0], fault.number)
    except (ProcessLookupError, FileNotFoundError):
        return False  # it ended just now
    return True


def _measure_training(rig: Rig, dvc: int) -> None:
    _await_training(rig, dvc)
    start = time.monotonic()
    _wait_until(lambda: not _find_training(rig.project), _SECONDS_TO_END)
    rig.training_seconds = time.monotonic() - start


def _await_training(rig: Rig, dvc: int) -> None:
    """Wait until the stage begins to train, or nobody is left who would."""
    _wait_until(lambda: _find_training(rig.project) or not _is_running(rig, dvc), _SECONDS_TO_END)


def _find_dvc_of(stage: int) -> int:
    """Return the process that started a stage, be there a shell between them or not."""
    parent = _parent_of(stage)
    name = Path(f"/proc/{parent}/comm").read_text().strip()
    return _parent_of(parent) if name in ("sh", "dash", "bash") else parent


def _parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _find_training(project: Project) -> int:
    """Return the process that has taken hold of its saved state, and so begins to train; 0 if none has."""
    for lock in (project.root / ".dvc/tmp/darkroom/resume").glob("*/owner.json"):
        with suppress(OSError, ValueError, IndexError):
            process = int(json.loads(lock.read_text())[0])
            if is_alive(process):
                return process
    return 0


def _is_running(rig: Rig, dvc: int) -> bool:
    if is_alive(dvc):
        return True
    return bool(find_dvc_processes(rig.project.root))


def _wait_until(is_so: Callable[[], object], seconds: float, *, pause: float = 0.01) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def _wait(rig: Rig, process: int, name: str, problems: list[str]) -> int:
    """Return the exit status of dvc; it is ended, and that is a problem, if it takes too long."""
    status = wait_for(process, seconds=_SECONDS_TO_END)
    if status is None:
        problems.append(f"{name} did not end within {_SECONDS_TO_END:.0f} s")
        os.killpg(process, signal.SIGKILL)
        status = wait_for(process, seconds=_SECONDS_TO_END)
    return -1 if status is None else status


def _await_stages(rig: Rig, problems: list[str]) -> None:
    """Wait until no stage is left. Whoever is, after a while, is an orphan."""
    if not _wait_until(lambda: not find_stages(rig.project), _SECONDS_TO_LEAVE, pause=0.05):
        problems.append("an orphan goes on")
        for process in find_stages(rig.project):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _list_runs(rig: Rig) -> list[Path]:
    """Return what DVC notes of each experiment that runs, or was killed and is noted as running."""
    return list((rig.project.root / ".dvc/tmp/exps/run").glob("*/*.json"))


def _end_queue(rig: Rig, other_runs: set[Path], problems: list[str]) -> int:
    """Wait until the queue's task is done with, end its worker, which would wait for more, and empty it.

    Args:
        rig: The project.
        other_runs: Not the task's.
        problems: To add to.
    """
    experiments = rig.project.root / ".dvc/tmp/exps"
    last_seen = time.monotonic()

    def is_done() -> bool:
        nonlocal last_seen
        if any((experiments / "celery/result").glob("celery-task-meta-*")):
            return True
        if find_dvc_processes(rig.project.root):
            last_seen = time.monotonic()
        # A worker and its task take a moment to show: each is a process of another name before it is dvc.
        return time.monotonic() > last_seen + _SECONDS_TO_SHOW

    if not _wait_until(is_done, _SECONDS_TO_END, pause=0.1):
        problems.append(f"the queue's task did not end within {_SECONDS_TO_END:.0f} s")
    for process in find_dvc_processes(rig.project.root):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    runs = [path for path in _list_runs(rig) if path not in other_runs]
    codes = [json.loads(path.read_bytes())["returncode"] for path in runs]
    with rig.log.open("a") as log:
        for path in runs:
            if (output := path.with_suffix(".out")).exists():
                log.write(output.read_text(errors="replace"))
    shutil.rmtree(experiments, ignore_errors=True)
    for name in ("stash", "failed"):
        rig.project.run(f"git update-ref -d refs/exps/celery/{name}")
    return 0 if codes and all(code == 0 for code in codes) else 1
