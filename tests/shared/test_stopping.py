"""A stage ends when it is asked to and when its dvc is gone, and leaves nobody behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.doctor.processes import is_alive

ROOT = Path(__file__).parents[2]

WAITING = """
import signal, time
from pathlib import Path
from stages.shared.errors import run_stage
def main():
    try:
        Path("ready").touch()
        for _ in range(600):  # a signal just before a sleep begins is noticed when it ends
            time.sleep(0.1)
    finally:
        Path("cleaned").touch()
run_stage(main)
"""
STEPPING = """
import time
from pathlib import Path
from stages.shared.errors import run_stage
from stages.shared.stopping import defer_stops, is_stop_requested, stop
def main():
    with defer_stops():
        Path("ready").touch()
        while not is_stop_requested():
            time.sleep(0.01)
        time.sleep(0.3)
        Path("saved").touch()
        stop("stopped after step 3")
run_stage(main)
"""
WORKING = """
import multiprocessing, os, sys, time
from pathlib import Path
from stages.shared.errors import run_stage
from stages.shared.stopping import follow_parent
def work(method):
    follow_parent()
    Path("worker").write_text(str(os.getpid()))
    time.sleep(60)
def main():
    worker = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(1,), daemon=True)
    worker.start()
    while not Path("worker").exists() or not Path("worker").read_text():
        time.sleep(0.01)
    Path("ready").touch()
    time.sleep(60)
if __name__ == "__main__":
    run_stage(main)
"""


def heed_all() -> None:
    """Ignore no request, as a process does that nohup or a shell's & started these tests in."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a stage in a process group of its own and return it when it is at work."""
    (folder / "stage.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "stage.py", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_all,  # noqa: PLW1509 - these tests start no threads
    )
    wait_for(folder / "ready")
    return process


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} does not come"
        time.sleep(0.01)


def wait_until_gone(process: int, *, seconds: float = 30.0) -> None:
    """Wait for a process to end."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        assert time.monotonic() < deadline, f"process {process} goes on"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stage_that_is_asked_to_stop_says_one_line(tmp_path: Path, number: signal.Signals) -> None:
    """Status 75, one line, no traceback, and what the stage had begun is cleaned up."""
    process = start(WAITING, tmp_path)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "stopped; nothing was published\n")
    assert process.returncode == 75
    assert (tmp_path / "cleaned").exists()


def test_a_stage_may_finish_its_step_first(tmp_path: Path) -> None:
    """Requests wait until the stage looks; a second SIGTERM changes nothing."""
    process = start(STEPPING, tmp_path)
    process.terminate()
    time.sleep(0.1)
    process.terminate()
    assert process.communicate(timeout=60) == ("", "stopped after step 3\n")
    assert process.returncode == 75
    assert (tmp_path / "saved").exists()


def test_a_second_ctrl_c_quits_at_once(tmp_path: Path) -> None:
    """Who cannot wait for the step need not."""
    process = start(STEPPING, tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "saved").exists()


AS_ON_MACOS = """
import os, signal, sys
import psutil  # as the platform has it
sys.platform = "darwin"
for module, name in ((os, "pidfd_open"), (signal, "sigwaitinfo")):
    if hasattr(module, name):
        delattr(module, name)
"""
"""No kernel that tells of a parent's death, or of who sent a signal."""


@pytest.mark.parametrize("platform", ["", AS_ON_MACOS], ids=["here", "as on macOS"])
@pytest.mark.parametrize("shell", ["exec", "fork"])
def test_no_orphan_outlives_its_dvc(tmp_path: Path, shell: str, platform: str) -> None:
    """When dvc is killed the stage ends, also behind a shell, and touches nothing in doing so."""
    # What stands for dvc starts the stage as DVC does: through a shell, which may stay between the two.
    tail = "; true" if shell == "fork" else ""
    noting = 'import os; Path("pid").write_text(str(os.getpid())); Path("ready")'
    (tmp_path / "stage.py").write_text(platform + WAITING.replace('Path("ready")', noting))
    command = ["/bin/bash", "-c", f"{sys.executable} stage.py{tail}"]
    dvc = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({command})"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "DVC_STAGE": "train"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(tmp_path / "ready")
    stage = int((tmp_path / "pid").read_text())
    assert is_alive(stage)
    dvc.kill()
    dvc.wait()
    wait_until_gone(stage)
    assert not (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_are_stopped_by_their_parent_alone(tmp_path: Path, method: str) -> None:
    """What goes to the whole group leaves a worker at work until its parent ends it."""
    process = start(WORKING, tmp_path, method)
    worker = int((tmp_path / "worker").read_text())
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker, number)
    time.sleep(0.2)
    assert is_alive(worker)
    process.terminate()
    process.communicate(timeout=60)
    wait_until_gone(worker)


def test_a_worker_on_macos_obeys_its_parent(tmp_path: Path) -> None:
    """Who sent SIGTERM is not known there; a parent that waits for its worker must not wait for ever."""
    process = start(AS_ON_MACOS + WORKING, tmp_path, "spawn")
    worker = int((tmp_path / "worker").read_text())
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 75
    wait_until_gone(worker)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_die_with_their_parent(tmp_path: Path, method: str) -> None:
    """A parent that is killed leaves no worker behind."""
    process = start(WORKING, tmp_path, method)
    worker = int((tmp_path / "worker").read_text())
    process.kill()
    process.communicate(timeout=60)
    wait_until_gone(worker)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_death_by_a_signal_is_explained(tmp_path: Path, number: signal.Signals) -> None:
    """DVC says `exited with -11`; a line of ours, with the stage's name, says what that means."""
    status, lines = die_below_dvc(f"os.kill(os.getpid(), {int(number)})", tmp_path)
    assert status == -number
    [line] = lines
    assert line.startswith("train: was killed: for lack of memory if DVC says exited with -9")


@pytest.mark.parametrize(
    ("end", "status", "line"),
    [
        ("pass", 0, None),
        ("raise InputError('wrong')", 1, "wrong"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 75, "stopped; nothing was published"),
        ("signal.raise_signal(2), signal.raise_signal(2)", 75, "stopped; nothing was published"),
        ("stopping._Requests.is_orphan = True; stopping.stop('gone')", 75, "gone"),
    ],
)
def test_any_other_end_is_not(tmp_path: Path, end: str, status: int, line: str | None) -> None:
    """Also where the process leaves without cleaning up."""
    assert die_below_dvc(end, tmp_path) == (status, [line] if line else [])


def die_below_dvc(end: str, folder: Path) -> tuple[int, list[str]]:
    """Return exit status and stderr of a stage that ends so."""
    code = (
        "import os, signal; from stages.shared import stopping\n"
        "from stages.shared.errors import InputError, run_stage\n"
        f"def main():\n    {end}\n"
        "run_stage(main)"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "DVC_STAGE": "dvc.yaml:train"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.splitlines()
