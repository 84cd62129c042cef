"""A stage that waits at one of the files it touches, while something happens around it."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil

from tests.faults.fault import AT_FILE_EVENT

_SECONDS_TO_PAUSE = 600.0


def environment_to_pause(at_event: int) -> dict[str, str]:
    """Return the environment in which stages stop, as by Ctrl-Z, at the file event of a number."""
    return environment_to_stop(f"{int(signal.SIGSTOP)}:{at_event}")


def environment_to_stop(fault: str) -> dict[str, str]:
    """Return the environment in which stages are stopped as DARKROOM_FAULT says; see at_file_event."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment | {"PATH": path, "PYTHONPATH": str(AT_FILE_EVENT), "DARKROOM_FAULT": fault}


def wait_for_pause(process: psutil.Popen) -> psutil.Process | None:
    """Return the process that stopped, this one or one below it; None if this one ended without."""
    deadline = time.monotonic() + _SECONDS_TO_PAUSE
    while process.poll() is None:
        for one in (process, *process.children(recursive=True)):
            try:
                if one.status() == psutil.STATUS_STOPPED:
                    return one
            except psutil.NoSuchProcess:
                continue
        if time.monotonic() > deadline:
            for one in (process, *process.children(recursive=True)):
                one.kill()
            raise AssertionError("the stage neither pauses nor ends")
        time.sleep(0.02)
    return None
