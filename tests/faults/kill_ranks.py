"""Kills processes of a run of several: any rank, the process that started them, dvc, at a random step.

After each, nothing may be left running or half published, and the next run, in another number of processes,
goes on; one that is left alone ends in the bits of one process that was never disturbed.
"""

import os
import random
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.fault import COMMANDS
from tests.faults.forked_dvc import start_dvc, wait_for
from tests.faults.left import find_processes, find_stages
from tests.faults.small_project import make_small_project
from tests.faults.tally import Tally
from tests.pipeline.project import Project

_VICTIMS = ("rank 0", "rank 1", "starter", "dvc")
_REQUESTS = (("starter", signal.SIGTERM), ("rank 1", signal.SIGTERM), ("all", signal.SIGINT))
"""Who is asked to stop, and saves what there is; `all` is what Ctrl-C does."""

_MAX_SECONDS = 10.0
"""From the death of a rank to the end of the stage."""

_LONG = 240.0


def kill_ranks(folder: Path, *, count: int, seed: int) -> Tally:
    """Kill so many runs of two processes and count what goes wrong.

    Args:
        folder: Is not there yet; the project will be in it.
        count: Runs that are killed, or asked to stop, one in four.
        seed: Of who, when, and in how many processes what follows runs.
    """
    tally = Tally("processes of a run, killed")
    project = make_small_project(
        folder, num_epochs=4, num_each=60, save_every_steps=9, last_stage="prepare-dataset"
    )
    for old, new in (
        ("accumulation_steps: 1", "accumulation_steps: 4"),
        ("name: cnn", "name: resnet"),
        (
            "    - 32\n    - 64\n    - 128\n    blocks_per_stage: 2",
            "    - 8\n    - 8\n    blocks_per_stage: 1",
        ),
    ):
        project.set(old, new)
    project.run("dvc repro train")
    expected = _hash_results(project)
    generator = random.Random(seed)
    slowest, num_resumed = 0.0, 0
    while tally.tried < count:
        for _ in range(min(generator.randint(1, 3), count - tally.tried)):
            _set_processes(project, 2)
            if generator.random() < 0.75:
                victim, number = generator.choice(_VICTIMS), signal.SIGKILL
            else:
                victim, number = generator.choice(_REQUESTS)
            problems, seconds = _disturb(project, victim, number, at=generator.uniform(0.0, 4.0))
            slowest = max(slowest, seconds)
            if set(_hash_results(project).items()) - set(expected.items()):
                problems.append("something else was published")
            tally.count(not problems, f"{number.name} to {victim}: {'; '.join(problems)}")
        _set_processes(project, generator.choice((1, 2)))
        _run(project)
        num_resumed += "train: resumes" in _log(project).read_text()
        if _hash_results(project) != expected:
            tally.wrong.append(f"{tally.name}: another result; {_last_line(project)}")
    tally.note = f"{num_resumed} results of resumed runs; a stage ends within {slowest:.1f} s"
    return tally


def _disturb(project: Project, victim: str, number: signal.Signals, *, at: float) -> tuple[list[str], float]:
    """Send a signal so many seconds after training began; return what is wrong, and how long the end took."""
    problems: list[str] = []
    dvc = _start(project)
    deadline = time.monotonic() + _LONG
    while not (processes := _find(project, dvc)) and time.monotonic() < deadline and psutil.pid_exists(dvc):
        time.sleep(0.02)
    time.sleep(at)
    processes = _find(project, dvc) or processes
    start = time.monotonic()
    with suppress(ProcessLookupError):
        if victim == "all":
            os.killpg(dvc, number)
        elif victim in processes:
            os.kill(processes[victim], number)
    status = wait_for(dvc, seconds=_LONG)
    seconds = time.monotonic() - start
    printed = _log(project).read_text(errors="replace")
    is_rank_killed = victim.startswith("rank") and number == signal.SIGKILL
    if status not in (0, None) and is_rank_killed:
        if not re.search(rf"^train: {victim} of 2 was killed by SIGKILL", printed, re.MULTILINE):
            problems.append(f"nobody says which: {_last_line(project)}")
        if seconds > _MAX_SECONDS:
            problems.append(f"it took {seconds:.1f} s")
    if status is None:
        problems.append("dvc did not end")
        os.killpg(dvc, signal.SIGKILL)
    if "Traceback" in printed and "/stages/" in printed:
        problems.append(f"a traceback: {printed[-2000:]}")
    deadline = time.monotonic() + 4 * _MAX_SECONDS
    while _list_left(project) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in _list_left(project):
        problems.append(f"an orphan goes on: {process.cmdline()}")
        process.kill()
    return problems, seconds if is_rank_killed and status else 0.0


def _find(project: Project, dvc: int) -> dict[str, int]:
    """Return the processes of a run by who they are; none before training has begun."""
    states = project.root / ".dvc/tmp/darkroom/resume"
    stages = find_stages(project)
    if not stages or not list(states.glob("*/owner.json")):
        return {}
    try:
        children = psutil.Process(stages[0]).children()
        ranks = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return {}
    if len(ranks) < 2:
        return {}
    ranks.sort(key=lambda process: process.pid)
    return {"rank 0": ranks[0].pid, "rank 1": ranks[1].pid, "starter": stages[0], "dvc": dvc}


def _list_left(project: Project) -> list[psutil.Process]:
    return [process for process, arguments in find_processes(project) if "python" in "".join(arguments[:1])]


def _set_processes(project: Project, count: int) -> None:
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(re.sub(r"  processes: \d+", f"  processes: {count}", text))


def _start(project: Project) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "DVC_SITE_CACHE_DIR": f"{project.root}.site",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONPATH", None)
    (arguments,) = COMMANDS["repro"]
    return start_dvc(arguments, folder=project.root, environment=environment, output=_log(project))


def _run(project: Project) -> None:
    """Train to the end; the doctor mends what a killed dvc left, if need be."""
    if wait_for(_start(project), seconds=_LONG) != 0:
        project.run("python -m tools.doctor --fix || true")
        wait_for(_start(project), seconds=_LONG)


def _log(project: Project) -> Path:
    return project.root.parent / f"{project.root.name}.log"


def _last_line(project: Project) -> str:
    return " | ".join(_log(project).read_text(errors="replace").strip().splitlines()[-4:])


def _hash_results(project: Project) -> dict[str, str]:
    return {
        name: value
        for name, value in project.hashes().items()
        if name.startswith(("data/model/", "data/dvclive/", "data/metrics/train"))
    }
