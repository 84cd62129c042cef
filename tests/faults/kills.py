"""Runs that are stopped in every way, and what must be true of them afterwards.

Runs are stopped again and again, each going on from what the one before left, by whatever command; then one
is left alone, and must end in the bits of a run that nobody ever stopped. Nothing is mended between them.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stages.doctor.processes import find_dvc_processes, is_alive
from tests.faults.forked_dvc import load_modules, start_dvc, wait_for
from tests.pipeline.project import Project

AT_FILE_EVENT = Path(__file__).parent / "at_file_event"
_WAYS = {
    (number, target): 8
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    for target in ("stage", "dvc", "group")
} | {(signal.SIGINT, "dvc"): 1}
"""Who gets which signal, and how often; DVC ignores SIGINT while a stage runs."""

_FORCED = ("--force", "--single-item", "train")  # DVC's run cache has the undisturbed result
COMMANDS = {
    "repro": (("repro", *_FORCED),),
    "exp run": (("exp", "run", *_FORCED),),
    "--temp": (("exp", "run", "--temp", *_FORCED),),
    "queue": (("exp", "run", "--queue", *_FORCED), ("queue", "start")),
}
_SHARES = {"repro": 7, "exp run": 5, "--temp": 5, "queue": 3}
_APPLIES_HERE = ("repro", "exp run")
_MAX_STOPS = 4
"""Of runs one after the other."""

_SECONDS_TO_END = 240.0
_SECONDS_TO_LEAVE = 30.0
_SECONDS_TO_SHOW = 10.0
_NUM_LINES = 8
"""Of what dvc printed, in a complaint."""

_OUTPUTS = ("data/model/", "data/dvclive/", "data/metrics/train.json")


@dataclass(frozen=True)
class Fault:
    """One way to stop one run."""

    command: str
    """A key of COMMANDS."""

    number: signal.Signals
    target: str
    """Who gets the signal."""

    when: str
    """`file`: at a file event; `run`: in all of dvc's time; `training`: in the stage's, after its imports."""

    at: float
    """The number of the file event, or the part of that time that has passed."""

    def __str__(self) -> str:
        place = f"file event {self.at:.0f}" if self.when == "file" else f"{self.at:.0%} of {self.when}"
        return f"{self.command}, {self.number.name} to {self.target} at {place}"


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


def draw_command(generator: random.Random, *, after_all: bool = False) -> str:
    """Return a command; for the run that is left alone, mostly the cheapest."""
    shares = _SHARES | {"repro": 20, "queue": 1} if after_all else _SHARES
    return generator.choices(list(shares), weights=list(shares.values()))[0]


def draw_fault(generator: random.Random, *, num_events: int, event: int | None = None) -> Fault:
    """Return a way to stop a run, at a file event if one is given."""
    when = "file" if event else generator.choices(("file", "training", "run"), weights=(5, 3, 2))[0]
    at = float(event or generator.randint(1, num_events)) if when == "file" else generator.random()
    number, target = generator.choices(list(_WAYS), weights=list(_WAYS.values()))[0]
    return Fault(draw_command(generator), number, target, when=when, at=at)


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
    status, was_sent = _run_once(rig, command, fault, variables or {}, problems)
    if status != 0 and not was_sent and not problems:  # DVC cannot go on from what it was killed in
        before = _printed(rig)
        rig.project.run("python -m stages.doctor --fix || true")
        was_mended = True
        status, was_sent = _run_once(rig, command, fault, variables or {}, problems)
        if status != 0 and not was_sent:
            problems.append(f"does not run: {_last_lines(before)}; mended: {_last_lines(_printed(rig))}")
    printed = _printed(rig)
    was_resumed = "train: goes on" in printed
    if "Traceback" in printed and "/stages/" in printed:
        problems.append(f"a traceback: {_last_lines(printed)}")
    problems += look(rig, command, state=state, refs=refs, is_whole=status == 0)
    if status == 0 and state and not was_resumed:
        problems.append("a saved state was not gone on from")
    return Outcome(command, fault, status != 0 and was_sent, was_resumed, was_mended, tuple(problems))


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
        is_output = name.startswith(_OUTPUTS)
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


def has_result(project: Project) -> bool:
    """Return whether a run noted its result, and DVC may not have that yet."""
    return any((project.root / ".dvc/tmp/darkroom/resume").glob("*/result.json"))


def list_experiments(project: Project) -> set[str]:
    """Return the references of experiments that have come to a result."""
    refs = project.run("git for-each-ref --format='%(refname)' refs/exps").split()
    return {ref for ref in refs if "/exec/" not in ref and "/celery/" not in ref and ref.count("/") == 4}


def find_stages(project: Project) -> list[int]:
    """Return the processes that run train for this project, also in its temporary experiments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            is_below = (folder / "cwd").readlink().is_relative_to(project.root.resolve())
        except OSError:
            continue  # ended just now
        if b"stages.train" in arguments and is_below and b"-c" not in arguments:
            found.append(int(folder.name))
    return found


def _run_once(
    rig: Rig, command: str, fault: Fault | None, variables: dict[str, str], problems: list[str]
) -> tuple[int, bool]:
    """Run a command, and return its status and whether the signal was sent."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    at_file = fault is not None and fault.when == "file"
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONPATH": str(AT_FILE_EVENT),
        "DARKROOM_FILE_EVENTS": str(rig.events),
        "DARKROOM_FAULT": f"{int(fault.number)}:{fault.at:.0f}:{fault.target}"
        if fault and at_file
        else "0:0",
        "DVC_SITE_CACHE_DIR": f"{rig.project.root}.site",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    rig.events.unlink(missing_ok=True)
    *before, last = COMMANDS[command]
    was_sent = False
    for arguments in before:
        process = start_dvc(arguments, folder=rig.project.root, environment=environment, output=rig.log)
        if (status := _wait(rig, process, "dvc " + " ".join(arguments), problems)) != 0:
            return status, False
    start = time.monotonic()
    process = start_dvc(last, folder=rig.project.root, environment=environment, output=rig.log)
    if fault is None:
        _measure_training(rig, process)
    elif not at_file:
        was_sent = _send(rig, fault, process, start)
    status = _wait(rig, process, f"dvc {' '.join(last)}", problems)
    if command == "queue":
        status = _end_queue(rig, problems) or status
    if fault is None:
        rig.run_seconds[command] = time.monotonic() - start
    _await_stages(rig, problems)
    if at_file:
        was_sent = rig.events.exists() and "\nsent\n" in f"\n{rig.events.read_text()}"
    return status, was_sent


def _send(rig: Rig, fault: Fault, dvc: int, start: float) -> bool:
    """Wait for the fault's time, send its signal, and return whether there still was somebody to get it."""
    duration = rig.run_seconds[fault.command]
    if fault.when == "training":
        _await_training(rig, dvc)
        start, duration = time.monotonic(), rig.training_seconds
    time.sleep(max(0.0, start + fault.at * duration - time.monotonic()))
    try:
        if fault.command != "queue" and fault.target in ("dvc", "group"):
            (os.killpg if fault.target == "group" else os.kill)(dvc, fault.number)
            return True
        stages = find_stages(rig.project)
        if not stages:
            return False
        if fault.target == "group":
            os.killpg(os.getpgid(stages[0]), fault.number)
        elif fault.target == "dvc":
            os.kill(_find_dvc_of(stages[0]), fault.number)
        else:
            os.kill(stages[0], fault.number)
    except (ProcessLookupError, FileNotFoundError):
        return False  # it ended just now
    return True


def _measure_training(rig: Rig, dvc: int) -> None:
    _await_training(rig, dvc)
    start = time.monotonic()
    _wait_until(lambda: not _find_training(rig.project), _SECONDS_TO_END)
    rig.training_seconds = time.monotonic() - start


def _await_training(rig: Rig, dvc: int) -> None:
    """Wait until the stage begins to train, or nobody is left who would."""
    _wait_until(lambda: _find_training(rig.project) or not _is_running(rig, dvc), _SECONDS_TO_END)


def _find_dvc_of(stage: int) -> int:
    """Return the process that started a stage, be there a shell between them or not."""
    parent = _parent_of(stage)
    name = Path(f"/proc/{parent}/comm").read_text().strip()
    return _parent_of(parent) if name in ("sh", "dash", "bash") else parent


def _parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _find_training(project: Project) -> int:
    """Return the process that has taken hold of its saved state, and so begins to train; 0 if none has."""
    for lock in (project.root / ".dvc/tmp/darkroom/resume").glob("*/lock"):
        with suppress(OSError, ValueError, IndexError):
            process = int(json.loads(lock.read_text())[0])
            if is_alive(process):
                return process
    return 0


def _is_running(rig: Rig, dvc: int) -> bool:
    if is_alive(dvc):
        return True
    return bool(find_dvc_processes(rig.project.root))


def _wait_until(is_so: Callable[[], object], seconds: float, *, pause: float = 0.01) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def _wait(rig: Rig, process: int, name: str, problems: list[str]) -> int:
    """Return the exit status of dvc; it is ended, and that is a problem, if it takes too long."""
    status = wait_for(process, seconds=_SECONDS_TO_END)
    if status is None:
        problems.append(f"{name} did not end within {_SECONDS_TO_END:.0f} s")
        os.killpg(process, signal.SIGKILL)
        status = wait_for(process, seconds=_SECONDS_TO_END)
    return -1 if status is None else status


def _await_stages(rig: Rig, problems: list[str]) -> None:
    """Wait until no stage is left. Whoever is, after a while, is an orphan."""
    if not _wait_until(lambda: not find_stages(rig.project), _SECONDS_TO_LEAVE, pause=0.05):
        problems.append("an orphan goes on")
        for process in find_stages(rig.project):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _end_queue(rig: Rig, problems: list[str]) -> int:
    """Wait until the queue's task is done with, end its worker, which would wait for more, and empty it."""
    experiments = rig.project.root / ".dvc/tmp/exps"
    last_seen = time.monotonic()

    def is_done() -> bool:
        nonlocal last_seen
        if any((experiments / "celery/result").glob("celery-task-meta-*")):
            return True
        if find_dvc_processes(rig.project.root):
            last_seen = time.monotonic()
        # A worker and its task take a moment to show: each is a process of another name before it is dvc.
        return time.monotonic() > last_seen + _SECONDS_TO_SHOW

    if not _wait_until(is_done, _SECONDS_TO_END, pause=0.1):
        problems.append(f"the queue's task did not end within {_SECONDS_TO_END:.0f} s")
    for process in find_dvc_processes(rig.project.root):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    codes = [json.loads(path.read_bytes())["returncode"] for path in experiments.glob("run/*/*.json")]
    with rig.log.open("a") as log:
        for path in experiments.glob("run/*/*.out"):
            log.write(path.read_text(errors="replace"))
    shutil.rmtree(experiments, ignore_errors=True)
    for name in ("stash", "failed"):
        rig.project.run(f"git update-ref -d refs/exps/celery/{name}")
    return 0 if codes and all(code == 0 for code in codes) else 1


def _printed(rig: Rig) -> str:
    return rig.log.read_text(errors="replace")


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-_NUM_LINES:])
