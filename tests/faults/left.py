"""What runs leave behind: outputs, experiments, saved states, processes."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.pipeline.project import Project

_APPLIES_HERE = ("repro", "exp run")
_OUTPUT_FOLDERS = ("data/model/", "data/dvclive/")
_OUTPUT_FILE = "data/metrics/train.json"  # what is built beside it is none: the next run removes that


@dataclass
class Rig:
    """A project to stop runs in, and what an undisturbed run of it gives and takes."""

    project: Project
    expected: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file below data/."""

    lock: str = ""
    """dvc.lock, which has the hashes of an experiment's outputs."""

    head: str = ""
    num_file_events: int = 0
    run_seconds: dict[str, float] = field(default_factory=dict)
    """From the start of dvc to its end, of each command, as last seen."""

    training_seconds: float = 0.0
    """From the end of the stage's imports to its end, as last seen."""

    @property
    def log(self) -> Path:
        """What dvc printed."""
        return self.project.root.parent / f"{self.project.root.name}.log"

    @property
    def events(self) -> Path:
        """What the stage did to files."""
        return self.project.root.parent / f"{self.project.root.name}.events"


def look(rig: Rig, command: str, *, state: int, refs: set[str], is_whole: bool) -> list[str]:
    """Return what is wrong with the files, experiments and states that a run left.

    Args:
        rig: The project.
        command: What ran.
        state: The number of the newest state before.
        refs: The experiments before.
        is_whole: Whether it came to its end.
    """
    problems = []
    project = rig.project
    found = project.hashes()
    for name in sorted(found.keys() | rig.expected.keys()):
        is_output = name.startswith(_OUTPUT_FOLDERS) or name == _OUTPUT_FILE
        is_right = found.get(name) == rig.expected.get(name)
        if is_whole and command in _APPLIES_HERE:
            if not is_right:
                problems.append(f"{name} is not that of an undisturbed run")
        elif is_output and name in found and not is_right:
            problems.append(f"{name} was published, and is not that of an undisturbed run")
        elif not is_output and name in rig.expected and not is_right:
            problems.append(f"{name} was changed")
    if (project.root / "dvc.lock").read_text() != rig.lock:
        problems.append("dvc.lock has another result")
    new = list_experiments(project) - refs
    if any(project.run(f"git show {ref}:dvc.lock") != rig.lock for ref in new):
        problems.append("an experiment has another result")
    if is_whole and command != "repro" and not new:
        problems.append("there is no experiment")
    if not is_whole and state and not (find_state(project) >= state or has_result(project)):
        problems.append(f"of the saved states, up to {state}, {find_state(project)} is left")
    return problems


def clean(rig: Rig) -> None:
    """Put back what experiments that were killed leave in Git and in the working folder."""
    rig.project.run(f"git symbolic-ref HEAD refs/heads/{rig.head} && git reset --quiet --hard")
    refs = rig.project.run("git for-each-ref --format='delete %(refname)' refs/exps")
    if refs:
        rig.project.run(f"git update-ref --stdin <<'END'\n{refs}END")
    shutil.rmtree(rig.project.root / ".dvc/tmp/exps", ignore_errors=True)


def find_state(project: Project) -> int:
    """Return the number of the newest saved state of a run that has no result, 0 if there is none."""
    states = (project.root / ".dvc/tmp/darkroom/resume").glob("*/state-*.safetensors")
    numbers = [int(path.stem[6:]) for path in states if not (path.parent / "result.json").exists()]
    return max(numbers, default=0)


def find_first_save(rig: Rig) -> int:
    """Return the number of the first state that the last run saved, 0 if it saved none."""
    events = rig.events.read_text() if rig.events.exists() else ""
    saved = re.search(r"^os\.rename .*/state-(\d+)\.safetensors$", events, re.MULTILINE)
    return int(saved[1]) if saved else 0


def has_result(project: Project) -> bool:
    """Return whether a run noted its result, and DVC may not have that yet."""
    return any((project.root / ".dvc/tmp/darkroom/resume").glob("*/result.json"))


def list_experiments(project: Project) -> set[str]:
    """Return the references of experiments that have come to a result."""
    refs = project.run("git for-each-ref --format='%(refname)' refs/exps").split()
    return {ref for ref in refs if "/exec/" not in ref and "/celery/" not in ref and ref.count("/") == 4}


def find_stages(project: Project) -> list[int]:
    """Return the processes that run train for this project, also in its temporary experiments."""
    return [
        process.pid
        for process, arguments in find_processes(project)
        if "stages.train" in arguments and "-c" not in arguments
    ]


def find_processes(project: Project) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Yield the processes that work in this project or below it, each with its command line."""
    root = project.root.resolve()
    for process in psutil.process_iter():
        try:
            arguments, folder = process.cmdline(), Path(process.cwd())
        except (psutil.Error, OSError):
            continue  # ended just now, or is another user's
        if folder.is_relative_to(root):
            yield process, arguments
