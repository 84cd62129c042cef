"""A short form of the fault suite: `make faults` stops many more runs."""

import signal
from collections.abc import Iterator

import pytest

from tests.faults.kills import Fault, inject, list_outputs
from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A small project, trained once and committed."""
    project = make_small_project(tmp_path_factory.mktemp("faults") / "project", num_epochs=4)
    project.run("dvc repro --single-item train")
    project.run("git add -A && git commit -qm trained")
    yield project


@pytest.mark.parametrize(
    "fault",
    [
        Fault("repro", signal.SIGTERM, "stage", 3.0),
        Fault("repro", signal.SIGKILL, "file event", 9),
        Fault("--temp", signal.SIGKILL, "dvc", 3.0),
    ],
    ids=str,
)
def test_a_stopped_run_ends_as_if_nothing_had_been(project: Project, fault: Fault) -> None:
    """No orphan, nothing half published, and the run after it ends in the bits of an undisturbed one."""
    # The commit holds what an undisturbed run gave.
    project.run("git checkout --quiet . && dvc checkout --quiet")
    outcome = inject(project, fault, list_outputs(project))
    assert outcome.was_stopped
    assert outcome.problems == ()
