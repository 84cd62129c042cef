"""Exports killed under the real DVC: nothing is half published, and the next run gives the same bytes."""

import random
import signal
import subprocess

from tests.faults.paused import environment_to_stop
from tests.faults.tally import Tally
from tests.pipeline.project import Project

_COMMAND = ("dvc", "repro", "--force", "--single-item", "export")
_WAYS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_TARGETS = ("stage", "dvc", "group")
_OUTPUTS = ("data/export/", "data/metrics/export.json")
_RUNS_BETWEEN = 5
_SECONDS_TO_END = 600.0


def kill_exports(project: Project, *, count: int, seed: int) -> Tally:
    """Kill `dvc repro` of the stage export at a file event, again and again, and let one end now and then.

    Args:
        project: In which all stages ran and something was exported; it is left as it was.
        count: How many runs.
        seed: Of the events and the signals.
    """
    generator = random.Random(seed)
    tally = Tally("kills in dvc repro export")
    expected, lock = project.hashes(), (project.root / "dvc.lock").read_bytes()
    events = project.root.parent / "export.events"
    _run(project, "0:0", events=str(events))
    num_events = len(events.read_text().splitlines())
    num_killed = 0
    for number in range(1, count + 1):
        way, target = generator.choice(_WAYS), generator.choice(_TARGETS)
        event = generator.randint(1, num_events)
        status, printed = _run(project, f"{int(way)}:{event}:{target}")
        num_killed += status != 0
        problems = _look(project, expected, lock, is_whole=status == 0)
        if "Traceback" in printed and "/stages/" in printed:
            problems.append(f"a traceback: {printed[-500:]}")
        if number % _RUNS_BETWEEN == 0 or number == count:
            status, printed = _run(project, "0:0")
            problems += [] if status == 0 else [f"does not run: {printed[-500:]}"]
            problems += _look(project, expected, lock, is_whole=True)
        tally.count(not problems, f"{way.name} to {target} at file event {event}: {'; '.join(problems)}")
    tally.note = f"{num_killed} stopped, at {num_events} file events"
    return tally


def _run(project: Project, fault: str, *, events: str = "") -> tuple[int, str]:
    """Return the status of the command and what it printed, after all that it started has ended."""
    environment = environment_to_stop(fault) | ({"DARKROOM_FILE_EVENTS": events} if events else {})
    done = subprocess.run(
        _COMMAND,
        cwd=project.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # read to its end: of the stage's too, should dvc end first
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS_TO_END,
        start_new_session=True,  # a signal to its group is not for this process
        check=False,
    )
    return done.returncode, done.stdout


def _look(project: Project, expected: dict[str, str], lock: bytes, *, is_whole: bool) -> list[str]:
    """Return what is wrong with the files that a run left; an output may be missing after a kill."""
    found = project.hashes()
    problems = [
        f"{name} is not that of an undisturbed run"
        for name, sha256 in expected.items()
        if found.get(name) != sha256 and (is_whole or name in found or not name.startswith(_OUTPUTS))
    ]
    problems += [f"{name} is left over" for name in sorted(found.keys() - expected.keys()) if is_whole]
    if (project.root / "dvc.lock").read_bytes() != lock:
        problems.append("dvc.lock has another result")
    return problems
