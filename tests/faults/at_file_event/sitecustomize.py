"""Stops a run at one of the files its stage touches, or has that fail; Python imports this from PYTHONPATH.

DARKROOM_FAULT names what happens, the number of the file event, and for a signal who gets it: `9:17:dvc` is
SIGKILL to dvc at the 17th, `ENOSPC:17` a full disk there, `0:0` nothing. Events are what Python's audit hooks
tell of, each before it happens: opening, renaming and removing, below what a stage writes and what is kept
from run to run. DARKROOM_FILE_EVENTS names a file that gets a line for each, and `sent` for the signal.
"""

import errno
import os
import signal
import sys
import time
from pathlib import Path

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_OUTPUTS = (
    "data/images",
    "data/prepared",
    "data/audit",
    "data/model",
    "data/dvclive",
    "data/report",
    "data/export",
    "data/metrics",
)
_WRITTEN = ("/data/", *_OUTPUTS, ".darkroom-", "resume/", "decoded/")
_SYNCED = (
    "data/model",
    "data/dvclive",
    "data/metrics",
    ".darkroom-",
    "resume/",
)  # opened to be synced, or read again
_SHELLS = {"sh", "dash", "bash"}
_SECONDS_TO_DIE = 0.05


def _install(fault: str, countdown: int, target: str) -> None:
    kills = fault.isdecimal() and int(fault) != signal.SIGSTOP

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal countdown
        if event not in _EVENTS:
            return
        paths = [os.fspath(path) for path in arguments[:2] if isinstance(path, str | os.PathLike)]
        watched: tuple[str, ...] = _WRITTEN
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
            watched = _SYNCED if kills else ()
        if not any(part in str(path) for path in paths for part in watched):
            return
        countdown -= 1
        _note(f"{event} {' '.join(map(str, paths))}")
        if countdown == 0:
            if not fault.isdecimal():
                number = getattr(errno, fault)
                raise OSError(number, os.strerror(number))
            _note("sent")
            _send(int(fault), target)

    sys.addaudithook(hook)


def _send(number: int, target: str) -> None:
    """Send the signal. What dies takes a moment, in which the stage must not get past the event."""
    if target == "stage":
        os.kill(os.getpid(), number)
        return
    if target == "group":
        os.killpg(os.getpgid(0), number)
    else:
        os.kill(_find_dvc(), number)
    time.sleep(_SECONDS_TO_DIE)


def _find_dvc() -> int:
    """Return the parent, or the parent's parent if a shell stands between dvc and this process."""
    parent = os.getppid()
    if Path(f"/proc/{parent}/comm").read_text().strip() in _SHELLS:
        return int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    return parent


def _note(line: str) -> None:
    if _log is not None:
        os.write(_log, f"{line}\n".encode())


_log: int | None = None
if "DARKROOM_FAULT" in os.environ and any(argument.startswith("stages.") for argument in sys.orig_argv):
    if "DARKROOM_FILE_EVENTS" in os.environ:
        _log = os.open(os.environ["DARKROOM_FILE_EVENTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _what = f"{os.environ['DARKROOM_FAULT']}:stage".split(":")
    _install(_what[0], int(_what[1]), _what[2])
