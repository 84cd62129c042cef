"""Experiments side by side give what they give one after the other."""

import shutil
import time
from pathlib import Path

import pytest
import yaml

from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project
from tools.doctor.processes import find_dvc_processes

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

CHANGES = ("optimizer.lr=0.001", "dataset.color=rgb")
"""One that trains on what is there, one that decodes again."""


def list_results(project: Project) -> list[tuple[str, str]]:
    """Return the hashes that dvc.lock has of each experiment's outputs, sorted."""
    refs = project.run("git for-each-ref --format='%(refname)' refs/exps").split()
    results = []
    for ref in refs:
        if ref.count("/") == 4 and "/exec/" not in ref and "/celery/" not in ref:
            lock = yaml.safe_load(project.run(f"git show {ref}:dvc.lock"))["stages"]
            results.append((lock["prepare-dataset"]["outs"][1]["md5"], lock["train"]["outs"][1]["md5"]))
    return sorted(results)


@pytest.mark.timeout(900)
def test_two_workers_give_what_one_after_the_other_gives(tmp_path: Path) -> None:
    """Two experiments in `dvc queue start -j 2` share pixels and locks, and end in the same bytes."""
    alone = make_small_project(tmp_path / "alone", num_epochs=2, num_each=30)
    shutil.copytree(alone.root, tmp_path / "queue", symlinks=True)
    queue = Project(tmp_path / "queue")
    for change in CHANGES:
        alone.run(f"dvc exp run --temp -S {change} train")
        queue.run(f"dvc exp run --queue -S {change} train")
    queue.run("dvc queue start -j 2 >/dev/null 2>&1")  # workers hold on to what they may print to
    deadline = time.monotonic() + 600
    # DVC fails, after the table, when it reads what a worker is just writing.
    while (status := queue.run("dvc queue status || true")).count("Success") < len(CHANGES):
        assert "Failed" not in status, queue.run("cat .dvc/tmp/exps/run/*/*.out")
        assert time.monotonic() < deadline, status
        time.sleep(1)
    for process in find_dvc_processes(queue.root):  # they would wait for more
        queue.run(f"kill {process} || true")
    expected = list_results(alone)
    assert len(expected) == len(CHANGES)
    assert list_results(queue) == expected
