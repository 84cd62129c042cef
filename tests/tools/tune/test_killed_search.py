"""A real search that is killed goes on: `make slow` runs this, for it trains nine times."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.project import Project, clone_project

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def make_project(folder: Path) -> Project:
    project = clone_project(folder, num_epochs=3)
    project.set("trials: 30", "trials: 2")
    project.set("confirm_seeds: 3", "confirm_seeds: 0")
    project.set("save_every_steps: #", "save_every_steps: 5 #")
    project.run("dvc repro -q prepare-dataset && git add -A && git commit -qm prepared")
    return project


def start_search(project: Project) -> subprocess.Popen[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "tools.tune"],
        cwd=project.root,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_epoch(project: Project, trial: int) -> None:
    """Wait until a trial has finished an epoch."""
    copies = project.root / ".dvc/tmp/darkroom/tune"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for curve in copies.glob("*/copies/*/data/dvclive.partial/plots/metrics/val/loss.tsv"):
            commands = " ".join(" ".join(process.cmdline()) for process in list_processes(project))
            if re.search(f"tune-[0-9a-f]{{8}}-{trial} ", commands) and curve.read_text().count("\n") > 1:
                return
        time.sleep(0.05)
    raise AssertionError(f"trial {trial} did not finish an epoch")


def list_processes(project: Project) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(project.root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of a search that nobody stopped."""
    project = make_project(tmp_path_factory.mktemp("unbroken") / "project")
    project.run("python -m tools.tune")
    return (project.root / "data/tune/trials.csv").read_bytes()


def test_killed_and_stopped(unbroken: bytes, tmp_path: Path) -> None:
    """Killed in one trial and stopped in the next, it resumes both and ends with the same bytes."""
    project = make_project(tmp_path / "project")
    killed = start_search(project)
    wait_for_epoch(project, 0)
    killed.kill()
    killed.communicate()

    stopped = start_search(project)
    wait_for_epoch(project, 1)
    stopped.send_signal(signal.SIGTERM)  # Ctrl-C may be ignored here, as by a shell's &
    printed, _ = stopped.communicate()
    assert stopped.returncode == 75
    assert printed.splitlines()[-1] == "tune: stopped; the same command goes on where it was"
    assert "Traceback" not in printed
    assert list_processes(project) == []
    [states] = project.root.glob(".dvc/tmp/darkroom/tune/*/resume")
    assert list(states.glob("*/state-*.safetensors"))

    project.run("python -m tools.tune")
    assert (project.root / "data/tune/trials.csv").read_bytes() == unbroken
    assert not states.exists()
