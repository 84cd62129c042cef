"""Every file that a stage touches, failing: a full disk, an I/O error, a read-only or vanished file."""

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.faults.fault import AT_FILE_EVENT
from tests.faults.tally import Tally
from tests.pipeline.project import Project

STAGES = ("ingest", "prepare_dataset", "train", "evaluate", "export")
ERRORS = ("ENOSPC", "EIO", "EROFS", "ENOENT")
NUM_EVENTS = {"ingest": 30, "prepare_dataset": 20, "train": 100, "evaluate": 25, "export": 15}
"""File events of each stage on the small project, about."""


def break_files(project: Project, *, count: int, seed: int) -> Tally:
    """Run stages in which one file event or one write fails; whatever happens, all outputs stay whole.

    Args:
        project: In which all stages ran: running again gives the same bytes, so any other are damage.
        count: How many runs.
        seed: Of the events and errors.
    """
    generator = random.Random(seed)
    tally = Tally("files that fail")
    expected = project.hashes()
    num_failed = 0
    for number in range(count):
        stage = STAGES[number % len(STAGES)]
        if number % 4 == 3:
            max_kib = generator.choice((1, 2, 4, 8, 16, 32))
            what, done = f"{stage}, files of {max_kib} KiB at most", _run(project, stage, max_kib=max_kib)
        else:
            fault = f"{generator.choice(ERRORS)}:{generator.randint(1, NUM_EVENTS[stage])}"
            what, done = f"{stage}, {fault}", _run(project, stage, fault=fault)
        num_failed += done.returncode != 0
        found = project.hashes()
        wrong = sorted(name for name, sha256 in expected.items() if found.get(name) != sha256)
        lines = done.stderr.strip().splitlines()
        is_right = (
            done.returncode in (0, 1) and not wrong and len(lines) <= 2 and (done.returncode == 0 or lines)
        )
        tally.count(bool(is_right), f"{what}: status {done.returncode}, {wrong}, {done.stderr[-300:]}")
        if wrong:
            project.run("git checkout --quiet . && dvc checkout --force --quiet")
    tally.note = f"{num_failed} ended the stage"
    return tally


def _run(
    project: Project, stage: str, *, fault: str = "", max_kib: int | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    if fault:
        environment |= {"DARKROOM_FAULT": fault, "PYTHONPATH": str(AT_FILE_EVENT)}
    limit = f"ulimit -f {max_kib} && " if max_kib else ""  # bash counts in KiB
    return subprocess.run(
        ["bash", "-c", f"{limit}exec {Path(sys.executable)} -m stages.{stage}"],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
