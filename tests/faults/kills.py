"""Runs that are stopped in every way, and what must be true of them afterwards.

Runs are stopped again and again, each going on from what the one before left, by whatever command; then one
is left alone, and must end in the bits of a run that nobody ever stopped. Nothing is mended between them.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault import Fault, draw_command, draw_fault
from tests.faults.forked_dvc import load_modules
from tests.faults.left import Rig, clean, find_first_save, find_state, list_experiments, look
from tests.faults.stopping import run_once
from tests.pipeline.project import Project

_MAX_STOPS = 4
"""Of runs one after the other."""
_NUM_LINES = 8
"""Of what dvc printed, in a problem."""


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    command: str
    fault: Fault | None
    """None for a run that was left alone."""

    was_stopped: bool
    was_resumed: bool
    """It said that it went on from a saved state; one that is killed may not get to say it."""

    was_mended: bool
    """The doctor had to mend what DVC left before the command worked."""

    problems: tuple[str, ...]


def describe(project: Project) -> Rig:
    """Return what runs are compared with, from a project that is prepared, trained and committed."""
    return Rig(
        project,
        expected=project.hashes(),
        lock=(project.root / "dvc.lock").read_text(),
        head=project.run("git rev-parse --abbrev-ref HEAD").strip(),
    )


def set_up(project: Project) -> Rig:
    """Return the same with times and file events, from one undisturbed run of each command but the queue."""
    rig = describe(project)
    modules = rig.log.with_suffix(".modules")
    for command in ("repro", "exp run", "--temp"):
        outcome = run(rig, command, None, variables={"DARKROOM_LIST_MODULES": str(modules)})
        assert not outcome.problems, (outcome.problems, rig.log.read_text())
        load_modules(modules)
    rig.num_file_events = len(rig.events.read_text().splitlines())
    rig.run_seconds["queue"] = 2 * rig.run_seconds["--temp"]
    clean(rig)
    return rig


def stop_in_turn(root: Path, faults: Sequence[Fault]) -> list[Outcome]:
    """Stop a run in each of these ways, then leave one alone, and return what came of all."""
    rig = describe(Project(root))
    outcomes = [run(rig, fault.command, fault) for fault in faults]
    outcomes.append(run(rig, "repro", None))
    clean(rig)
    return outcomes


def stop_runs(
    rig: Rig, *, count: int, seed: int, first_event: int = 1, event_step: int = 1
) -> Iterator[Outcome]:
    """Stop so many runs, and yield what came of each, and of those that were left alone after them.

    Args:
        rig: Of `set_up`.
        count: Runs that are stopped, those that ended before not counted.
        seed: Of the ways, and the random times.
        first_event: The file event to begin with; each in turn is the first one of a series.
        event_step: How many to the next.
    """
    generator = random.Random(seed)
    event, num_stopped = first_event - event_step, 0
    while num_stopped < count:
        event = 1 + (event - 1 + event_step) % rig.num_file_events
        num_left = rig.num_file_events
        next_event: int | None = event
        for _ in range(generator.randint(2, _MAX_STOPS)):
            fault = draw_fault(generator, num_events=num_left, event=next_event)
            outcome = run(rig, fault.command, fault)
            yield outcome
            next_event = None
            num_stopped += outcome.was_stopped
            if not outcome.was_stopped:
                break
            if fault.when == "file":
                num_left = max(num_left - int(fault.at) + 4, 12)
        else:
            yield run(rig, draw_command(generator, after_all=True), None)
        clean(rig)


def run(rig: Rig, command: str, fault: Fault | None, *, variables: dict[str, str] | None = None) -> Outcome:
    """Run a command, stopped or not, and look at what it leaves.

    Args:
        rig: The project.
        command: A key of COMMANDS.
        fault: How to stop it, if at all.
        variables: Of the environment, more.
    """
    state = find_state(rig.project)
    refs = list_experiments(rig.project)
    problems: list[str] = []
    was_mended = False
    status, was_sent = run_once(rig, command, fault, variables or {}, problems)
    if status != 0 and not was_sent and not problems:  # DVC cannot go on from what it was killed in
        before = _printed(rig)
        rig.project.run("python -m tools.doctor --fix || true")
        was_mended = True
        status, was_sent = run_once(rig, command, fault, variables or {}, problems)
        if status != 0 and not was_sent:
            problems.append(f"does not run: {_last_lines(before)}; mended: {_last_lines(_printed(rig))}")
    printed = _printed(rig)
    # A queue's worker that is killed may not have passed on what the stage printed.
    was_resumed = "train: resumes" in printed or (state > 0 and find_first_save(rig) > state)
    if "Traceback" in printed and "/stages/" in printed:
        problems.append(f"a traceback: {_last_lines(printed)}")
    problems += look(rig, command, state=state, refs=refs, is_whole=status == 0)
    if status == 0 and state and not was_resumed:
        problems.append(f"saved state {state} was not gone on from: {_last_lines(printed)}")
    return Outcome(command, fault, status != 0 and was_sent, was_resumed, was_mended, tuple(problems))


def _printed(rig: Rig) -> str:
    return rig.log.read_text(errors="replace")


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-_NUM_LINES:])
