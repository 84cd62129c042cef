"""A short form of the fault suite: `make faults` stops many more runs."""

import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.faults.broken_disk import break_files
from tests.faults.damage import damage_artifacts
from tests.faults.edits import change_every_input, edit_while_running
from tests.faults.edits_under_dvc import edit_under_dvc
from tests.faults.fault import Fault
from tests.faults.full_disk import NoSmallDisk, fill_disks, small_disk
from tests.faults.kills import stop_in_turn
from tests.faults.small_project import make_small_project
from tests.faults.wrong_files import give_wrong_files
from tests.pipeline.project import Project

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(sys.platform != "linux", reason="the suite looks for processes in /proc"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project, in which all stages ran once; it is committed."""
    return make_small_project(
        tmp_path_factory.mktemp("faults") / "project",
        num_epochs=2,
        num_each=30,
        save_every_steps=3,
        last_stage="evaluate export",
    )


def test_stopped_runs_end_as_if_nothing_had_been(undisturbed: Project) -> None:
    """No orphan, nothing half published, and the run after them ends in the bits of an undisturbed one."""
    faults = [
        Fault("--temp", signal.SIGKILL, "dvc", when="file", at=14),  # in the third save
        Fault("repro", signal.SIGKILL, "group", when="file", at=40),  # while it publishes
    ]
    # In a process of its own, for dvc is forked from it.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        *stopped, last = alone.submit(stop_in_turn, undisturbed.root, faults).result()
    assert [outcome.problems for outcome in (*stopped, last)] == [()] * 3
    assert all(outcome.was_stopped for outcome in stopped)
    assert last.was_resumed
    assert not any(outcome.was_mended for outcome in (*stopped, last))


def test_damage_is_found_before_use(undisturbed: Project, tmp_path: Path) -> None:
    """A changed byte and a cut, in each kind of artifact."""
    tallies = list(damage_artifacts(undisturbed.root, tmp_path, flips=12, cuts=4, seed=0))
    assert len(tallies) == 20
    assert [line for tally in tallies for line in tally.wrong] == []


def test_edits_while_a_stage_runs_are_refused(undisturbed: Project) -> None:
    """Of params, code and data, in each stage."""
    assert edit_while_running(undisturbed.root, count=27, seed=0).wrong == []


@pytest.mark.slow
def test_edits_under_dvc_are_refused_and_not_recorded(undisturbed: Project) -> None:
    """`dvc repro` fails and names the change, dvc.lock stays, and the next run and `verify` end well."""
    edits = [("train", "code"), ("evaluate", "params")]
    assert edit_under_dvc(undisturbed, edits).wrong == []


def test_a_disk_that_fills_up_leaves_whole_outputs(undisturbed: Project, tmp_path: Path) -> None:
    """A small file system, full from a moment on while a stage runs: one line, and no signal."""
    try:
        with small_disk(tmp_path / "disk") as disk:
            tally = fill_disks(undisturbed, disk, count=3, seed=1)
    except NoSmallDisk as reason:
        pytest.skip(f"cannot make a small disk: {reason}")
    assert tally.wrong == []


def test_no_state_is_reused_for_other_inputs(undisturbed: Project) -> None:
    """Each parameter and code file of train in turn."""
    assert change_every_input(undisturbed.root).wrong == []


def test_wrong_files_are_refused_before_anything_is_touched(
    undisturbed: Project,
) -> None:
    """By each stage, soon, and with the key's name."""
    assert give_wrong_files(undisturbed.root, count=3, seed=1).wrong == []


def test_a_disk_that_fails_leaves_whole_outputs(undisturbed: Project) -> None:
    """A full disk, an I/O error, a read-only or a vanished file, in each stage: one line."""
    assert break_files(undisturbed, count=3, seed=2).wrong == []
