"""Ends a stage at one of the files it touches, or has that fail; Python imports this if it is on PYTHONPATH.

DARKROOM_FAULT names the signal or error, and the number of the file event: 9:17 is SIGKILL at the 17th,
ENOSPC:17 a full disk there. Events are what Python's audit hooks tell of: opening for writing, renaming and
removing, below data/ and what is kept from run to run.
"""

import errno
import os
import sys

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_OUTPUTS = ("data/prepared", "data/audit", "data/model", "data/dvclive", "data/report", "data/metrics")
_WRITTEN = ("/data/", *_OUTPUTS, "resume/", "decoded/")


def _install(fault: str, countdown: int) -> None:
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal countdown
        if event in _EVENTS and any(
            isinstance(path, str | os.PathLike) and any(part in os.fspath(path) for part in _WRITTEN)
            for path in arguments[:2]
        ):
            if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
                return  # only read
            countdown -= 1
            if countdown == 0:
                if fault.isdecimal():
                    os.kill(os.getpid(), int(fault))
                else:
                    number = getattr(errno, fault)
                    raise OSError(number, os.strerror(number))

    sys.addaudithook(hook)


if "DARKROOM_FAULT" in os.environ and any(argument.startswith("stages.") for argument in sys.orig_argv):
    _fault, _countdown = os.environ["DARKROOM_FAULT"].split(":")
    _install(_fault, int(_countdown))
