"""Train on a Ray cluster of two nodes on this machine, kill one, and compare the bytes of data/model.

    python -m tests.processes.nodes

Exit status 1 if anything is wrong. Needs Ray: pip install ray.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# A machine that is busy with other things starts nodes slowly.
os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_gcs_server_request_timeout_seconds": "120",
    }
)

from ray.cluster_utils import Cluster

from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project
from tests.train.project import hash_files

_SECONDS = 400.0

_LARGE = "    - 32\n    - 64\n    - 128\n    blocks_per_stage: 2"
_SMALL = "    - 8\n    - 8\n    blocks_per_stage: 1"


class _Trial:
    """A project, the result of one process in it, and what went wrong."""

    def __init__(self, folder: Path) -> None:
        self.project = make_small_project(
            folder, num_epochs=9, num_each=60, save_every_steps=9, last_stage="prepare-dataset"
        )
        self.project.set("accumulation_steps: 1", "accumulation_steps: 4")
        self.project.set("name: cnn", "name: resnet")
        self.project.set(_LARGE, _SMALL)
        self.num_wrong = 0

    def set(self, key: str, value: object) -> None:
        """Set a key of the section cluster."""
        path = self.project.root / "params.yaml"
        path.write_text(re.sub(rf"(?m)^  {key}:[^#\n]*", f"  {key}: {value} ", path.read_text()))

    def start(self) -> subprocess.Popen[str]:
        """Start the stage; the last result is removed, as DVC does it."""
        for name in ("data/model", "data/dvclive", "data/metrics/train.json"):
            subprocess.run(["rm", "-rf", self.project.root / name], check=True)
        return subprocess.Popen(
            [sys.executable, "-m", "stages.train"],
            cwd=self.project.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def hashes(self) -> dict[str, str]:
        """Return the hashes of the model's files."""
        return hash_files(self.project.root / "data" / "model")

    def check(self, name: str, is_right: bool, printed: str) -> None:
        """Print how a trial went, and count it if it went wrong."""
        self.num_wrong += not is_right
        print(f"{'right' if is_right else 'WRONG'}: {name}", flush=True)
        for line in printed.splitlines():
            print(f"    {line}", flush=True)


def finish(stage: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a stage; return its exit status and all that it printed."""
    printed, _ = stage.communicate(timeout=_SECONDS)
    return stage.returncode, printed


def read_until(stage: subprocess.Popen[str], text: str) -> str:
    """Read what a stage prints, up to the first line that holds a text."""
    assert stage.stdout is not None
    printed = ""
    for line in stage.stdout:
        printed += line
        if text in line:
            break
    return printed


def disturb(stage: subprocess.Popen[str], by: Callable[[], None]) -> tuple[int, str, float]:
    """Do something after the first epoch; also return the seconds from there to the end."""
    printed = read_until(stage, "1/9")
    by()
    since = time.monotonic()
    status, more = finish(stage)
    return status, printed + more, time.monotonic() - since


def main() -> None:
    """Run the trials."""
    with tempfile.TemporaryDirectory(prefix="darkroom-nodes-") as folder:
        trial = _Trial(Path(folder) / "project")
        status, printed = finish(trial.start())
        expected = trial.hashes()
        trial.check("one process", status == 0 and bool(expected), printed)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            _try_cluster(trial, cluster, expected)
        finally:
            cluster.shutdown()
        status, printed = finish(trial.start())
        trial.check("an address that nobody answers", status == 1 and len(printed.splitlines()) == 1, printed)
    print(f"{trial.num_wrong} wrong")
    sys.exit(bool(trial.num_wrong))


def _try_cluster(trial: _Trial, cluster: Cluster, expected: dict[str, str]) -> None:
    node = cluster.add_node(num_cpus=1)
    trial.set("address", cluster.address)
    trial.set("processes", 4)
    status, printed = finish(trial.start())
    trial.check("more processes than room", status == 1 and len(printed.splitlines()) == 1, printed)

    trial.set("processes", 2)
    forget(trial.project)
    status, printed = finish(trial.start())
    trial.check("two nodes", status == 0 and trial.hashes() == expected, printed)

    forget(trial.project)
    stage = trial.start()
    status, printed, seconds = disturb(stage, lambda: stage.send_signal(signal.SIGINT))
    trial.check(f"Ctrl-C, which took {seconds:.1f} s", status == 75 and not trial.hashes(), printed)
    status, printed = finish(trial.start())
    resumes = "train: resumes" in printed
    trial.check("going on after it", status == 0 and resumes and trial.hashes() == expected, printed)

    forget(trial.project)
    status, printed, seconds = disturb(trial.start(), lambda: cluster.remove_node(node, allow_graceful=False))
    resumes = "goes on without it" in printed and "train: resumes" in printed
    is_right = status == 0 and resumes and trial.hashes() == expected
    trial.check(f"a node killed, {seconds:.1f} s before the end", is_right, printed)
    trial.set("processes", 1)


def forget(project: Project) -> None:
    """Remove the saved states, from which the next run would go on."""
    subprocess.run(["rm", "-rf", project.root / ".dvc/tmp/darkroom/resume"], check=True)


if __name__ == "__main__":
    main()
