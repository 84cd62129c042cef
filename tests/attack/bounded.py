"""A command or a function in a process of its own, and what it took: CPU time, memory, disk, output.

    outcome = run_bounded([sys.executable, "-m", "tools.predict", bomb], cwd=project, scratch=scratch)
    problem = outcome.find_problem(max_cpu_seconds=20, max_peak_mb=1500, max_temporary_mb=100)
    tally.count(not problem, f"{bomb.name}: {problem}")

    outcome = call_bounded(decode_all, [str(path) for path in mutants], scratch=scratch)
    outcome.value   # what decode_all returned
    outcome.raised  # or "ValueError: …", what it raised

A lean process stands between, for a process counts the memory of the one that started it as its own peak.
"""

import contextlib
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
_MAX_OUTPUT_BYTES = 1_000_000
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Outcome:
    """How a process ended, and what it took."""

    status: int
    """Its exit status; negative: the signal that ended it."""

    stdout: str
    stderr: str
    """The first million bytes of each."""

    is_timed_out: bool
    """Whether it was ended, with its process group, at its limit of wall time."""

    wall_seconds: float
    cpu_seconds: float
    """Of it and all processes that it waited for."""

    peak_mb: float
    """Resident memory of it or of a process that it waited for, whichever took most."""

    temporary_mb: float
    """The most that lay in its TMPDIR, looked at every 20 ms."""

    left: tuple[str, ...]
    """What it left there, relative paths."""

    value: Any = None
    """What the function returned; None for commands."""

    raised: str = ""
    """Class and message of what the function raised."""

    def find_problem(
        self,
        *,
        max_cpu_seconds: float,
        max_peak_mb: float,
        max_temporary_mb: float = 100.0,
        statuses: Sequence[int] = (0, 1),
    ) -> str:
        """Return what is wrong, in one line: nothing, if the process kept its bounds and ended well.

        Args:
            max_cpu_seconds: CPU time: unlike wall time, a busy machine hardly lengthens it.
            max_peak_mb: Resident memory of the largest process.
            max_temporary_mb: What may lie in TMPDIR at a time.
            statuses: Exit statuses it may have.
        """
        bounds = (
            (self.is_timed_out, f"hangs: ended after {self.wall_seconds:.0f} s"),
            (not self.is_timed_out and self.status not in statuses, f"exit status {self.status}"),
            ("Traceback" in self.stdout + self.stderr, "a traceback"),
            (
                self.cpu_seconds > max_cpu_seconds,
                f"{self.cpu_seconds:.1f} s of CPU time, not {max_cpu_seconds:g}",
            ),
            (self.peak_mb > max_peak_mb, f"{self.peak_mb:.0f} MB of memory, not {max_peak_mb:g}"),
            (
                self.temporary_mb > max_temporary_mb,
                f"{self.temporary_mb:.0f} MB in TMPDIR, not {max_temporary_mb:g}",
            ),
        )
        wrong = [text for is_wrong, text in bounds if is_wrong]
        if wrong and self.stderr:
            wrong.append(f"stderr ends: {' / '.join(self.stderr[-400:].strip().splitlines())}")
        return "; ".join(wrong)


def run_bounded(
    command: Sequence[str | Path],
    *,
    scratch: Path,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    max_wall_seconds: float = 120.0,
    max_address_mb: int | None = None,
) -> Outcome:
    """Run a command in a session of its own and measure it; whatever is left of its session is ended.

    Args:
        command: Program and arguments.
        scratch: A folder in which the command's TMPDIR and outputs lie while it runs.
        cwd: The folder to run in.
        environment: Variables to add to our own; those of DVC are left out.
        stdin: What it reads there.
        max_wall_seconds: When to end it. A busy machine needs many times the CPU time.
        max_address_mb: Address space of each process (RLIMIT_AS; on Linux only); None for no limit.
    """
    own = Path(tempfile.mkdtemp(dir=scratch))
    try:
        temporary = own / "tmp"
        temporary.mkdir()
        (own / "stdin").write_bytes(stdin)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
        variables |= {"TMPDIR": str(temporary), **(environment or {})}
        watch = [sys.executable, "-I", "-S", __file__, str(own / "cost")]
        limits = [str(max_wall_seconds), str(max_address_mb or 0)]
        with (
            (own / "stdin").open("rb") as given,
            (own / "stdout").open("wb") as stdout,
            (own / "stderr").open("wb") as stderr,
            subprocess.Popen(
                [*watch, *limits, *map(str, command)],
                cwd=cwd,
                env=variables,
                stdin=given,
                stdout=stdout,
                stderr=stderr,
            ) as watcher,
        ):
            most = _watch_folder(temporary, watcher)
        cost = json.loads((own / "cost").read_bytes())
        return Outcome(
            **cost,
            stdout=_read_start(own / "stdout"),
            stderr=_read_start(own / "stderr"),
            temporary_mb=most / 1e6,
            left=tuple(
                sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*"))[:1000]
            ),
        )
    finally:
        shutil.rmtree(own, ignore_errors=True)


def call_bounded(
    function: Callable[..., Any],
    *arguments: Any,
    scratch: Path,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    max_wall_seconds: float = 120.0,
    max_address_mb: int | None = None,
) -> Outcome:
    """Call a function in a process of its own; otherwise as `run_bounded`.

    Args:
        function: Of a module of this repository; it, its arguments and its value can be pickled.
        arguments: Its arguments.
        scratch: As in run_bounded; so are the rest.
        cwd: The folder to run in.
        environment: Variables to add.
        max_wall_seconds: When to end it.
        max_address_mb: Address space.
    """
    with tempfile.NamedTemporaryFile(dir=scratch) as result:
        script = (
            "import sys; sys.path.insert(0, sys.argv[1]); "
            "from tests.attack.bounded import answer_call; answer_call(sys.argv[2])"
        )
        outcome = run_bounded(
            [sys.executable, "-c", script, ROOT, result.name],
            scratch=scratch,
            cwd=cwd,
            environment=environment,
            stdin=pickle.dumps((function, arguments)),
            max_wall_seconds=max_wall_seconds,
            max_address_mb=max_address_mb,
        )
        written = Path(result.name).read_bytes()
    value, raised = pickle.loads(written) if written else (None, "")
    return replace(outcome, value=value, raised=raised)


def answer_call(result: str) -> None:
    """Call the pickled function on stdin, and write its value or its exception to a file."""
    function, arguments = pickle.load(sys.stdin.buffer)
    value, raised = None, ""
    try:
        value = function(*arguments)
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    Path(result).write_bytes(pickle.dumps((value, raised)))


def _watch_folder(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """Return the most bytes that lay in a folder until a process ended."""
    most = 0
    while True:
        has_ended = process.poll() is not None
        most = max(most, _measure_folder(folder))
        if has_ended:
            return most
        time.sleep(_SAMPLE_SECONDS)


def _measure_folder(folder: Path) -> int:
    num_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                num_bytes += Path(parent, name).lstat().st_blocks * 512
    return num_bytes


def _read_start(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_OUTPUT_BYTES).decode(errors="replace")


def _watch_command(cost: str, max_wall_seconds: str, max_address_mb: str, *command: str) -> None:
    """Run a command in a session of its own, wait for it, and write what it took as JSON."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if limit := int(max_address_mb) * 1_000_000:
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            os.execvp(command[0], command)
        except (OSError, ValueError) as error:
            os.write(2, f"{command[0]}: {error}\n".encode())
        finally:
            os._exit(127)
    is_timed_out = False

    def end_session(signal_number: int = 0, frame: FrameType | None = None) -> None:
        nonlocal is_timed_out
        is_timed_out = bool(signal_number)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end_session)
    signal.setitimer(signal.ITIMER_REAL, float(max_wall_seconds))
    _, status, used = os.wait4(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    was_timed_out = is_timed_out
    end_session()
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in
    Path(cost).write_text(
        json.dumps(
            {
                "status": os.waitstatus_to_exitcode(status),
                "is_timed_out": was_timed_out,
                "wall_seconds": time.monotonic() - start,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_mb": used.ru_maxrss * unit / 1e6,
            }
        )
    )


if __name__ == "__main__":
    _watch_command(*sys.argv[1:])
