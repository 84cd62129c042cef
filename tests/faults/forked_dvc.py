"""The real DVC, imported once and forked for every command: its start takes longer than what it does."""

import importlib
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def start_dvc(arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path) -> int:
    """Run a command of DVC in a process of its own, leader of a new session, and return its number.

    The process that calls this should do little else: it is copied as it is.

    Args:
        arguments: As behind `dvc`.
        folder: Where.
        environment: All of its variables.
        output: Gets what it prints, both streams.
    """
    import dvc.cli  # noqa: F401, for the copy to have

    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    try:
        os._exit(_be_dvc(arguments, folder, environment, output))
    except BaseException:
        traceback.print_exc()
        os._exit(70)


def load_modules(listed: Path) -> None:
    """Import what a command of DVC imported on its way, for all that follow."""
    for name in listed.read_text().split():
        with suppress(Exception):
            importlib.import_module(name)


def wait_for(process: int, *, seconds: float) -> int | None:
    """Return the exit status of a child, negative for a signal; None if it has not ended after so long."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.01)


def _be_dvc(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    random.seed()  # names of experiments
    sys.argv = [str(Path(sys.executable).with_name("dvc")), *arguments]
    from dvc.cli import main

    status = int(main(list(arguments)))
    sys.stdout.flush()
    sys.stderr.flush()
    if listed := environment.get("DARKROOM_LIST_MODULES"):
        Path(listed).write_text("\n".join(sorted(sys.modules)))
    return status
