"""Ends `python -m stages.train` at one of the files it touches; Python imports this if it is on PYTHONPATH.

DARKROOM_FAULT names the signal and the number of the file event: 9:17 is SIGKILL at the 17th. Events are what
Python's audit hooks tell of: opening for writing, renaming and removing, below data/ and the saved states.
"""

import os
import sys

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def _install(number: int, countdown: int) -> None:
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal countdown
        if event in _EVENTS and any(
            isinstance(path, str | os.PathLike)
            and any(part in os.fspath(path) for part in ("/data/", "data/model", "data/dvclive", "resume/"))
            for path in arguments[:2]
        ):
            if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
                return  # only read
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)


if "DARKROOM_FAULT" in os.environ and "stages.train" in sys.orig_argv:
    _number, _countdown = os.environ["DARKROOM_FAULT"].split(":")
    _install(int(_number), int(_countdown))
