"""A short form of the fault suite: `make faults` stops many more runs."""

import signal

import pytest

from tests.faults.kills import Fault, inject, list_outputs
from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """A small project, trained once and committed, and the hashes of what that gave."""
    project = make_small_project(tmp_path_factory.mktemp("faults") / "project", num_epochs=4)
    return project, list_outputs(project)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("repro", signal.SIGTERM, "stage", 3.0),
        Fault("repro", signal.SIGKILL, "file event", 14),
        Fault("--temp", signal.SIGKILL, "dvc", 3.0),
    ],
    ids=str,
)
def test_a_stopped_run_ends_as_if_nothing_had_been(
    undisturbed: tuple[Project, dict[str, str]], fault: Fault
) -> None:
    """No orphan, nothing half published, and the run after it ends in the bits of an undisturbed one."""
    project, expected = undisturbed
    outcome = inject(project, fault, expected)
    assert outcome.was_stopped
    assert outcome.problems == ()
    if fault.target == "file event":  # which comes after the first save on any machine
        assert outcome.was_resumed
