"""A short form of the fault suite: `make faults` stops many more runs."""

import signal
from pathlib import Path

import pytest

from tests.faults.broken_disk import break_files
from tests.faults.damage import damage_artifacts
from tests.faults.edits import change_every_input, edit_while_running
from tests.faults.edits_under_dvc import edit_under_dvc
from tests.faults.full_disk import NoSmallDisk, fill_disks, small_disk
from tests.faults.kills import Fault, inject, list_outputs
from tests.faults.small_project import make_small_project
from tests.faults.wrong_files import give_wrong_files
from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """A small project, trained once and committed, and the hashes of what that gave."""
    project = make_small_project(tmp_path_factory.mktemp("faults") / "project", num_epochs=4)
    project.run("dvc repro && git add -A && git commit -qm evaluated")
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


def test_damage_is_found_before_use(undisturbed: tuple[Project, dict[str, str]], tmp_path: Path) -> None:
    """A changed byte and a cut, in each kind of artifact."""
    tallies = list(damage_artifacts(undisturbed[0].root, tmp_path, flips=12, cuts=4, seed=0))
    assert len(tallies) == 17
    assert [line for tally in tallies for line in tally.wrong] == []


def test_edits_while_a_stage_runs_are_refused(undisturbed: tuple[Project, dict[str, str]]) -> None:
    """Of params, code and data, in each stage."""
    assert edit_while_running(undisturbed[0].root, count=27, seed=0).wrong == []


def test_edits_under_dvc_are_refused_and_not_recorded(undisturbed: tuple[Project, dict[str, str]]) -> None:
    """`dvc repro` fails and names the change, dvc.lock stays, and the next run and `verify` end well."""
    edits = [("train", "code"), ("evaluate", "params")]
    assert edit_under_dvc(undisturbed[0], edits).wrong == []


def test_a_disk_that_fills_up_leaves_whole_outputs(
    undisturbed: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    """A small file system, full from a moment on while a stage runs: one line, and no signal."""
    try:
        with small_disk(tmp_path / "disk") as disk:
            tally = fill_disks(undisturbed[0], disk, count=3, seed=1)
    except NoSmallDisk as reason:
        pytest.skip(f"cannot make a small disk: {reason}")
    assert tally.wrong == []


def test_no_state_is_reused_for_other_inputs(undisturbed: tuple[Project, dict[str, str]]) -> None:
    """Each parameter and code file of train in turn."""
    assert change_every_input(undisturbed[0].root).wrong == []


def test_wrong_files_are_refused_before_anything_is_touched(
    undisturbed: tuple[Project, dict[str, str]],
) -> None:
    """By each stage, soon, and with the key's name."""
    assert give_wrong_files(undisturbed[0].root, count=6, seed=1).wrong == []


def test_a_disk_that_fails_leaves_whole_outputs(undisturbed: tuple[Project, dict[str, str]]) -> None:
    """A full disk, an I/O error, a read-only or a vanished file, in each stage: one line."""
    assert break_files(undisturbed[0], count=6, seed=2).wrong == []
