"""One process at a time has a folder."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

_SECONDS_BETWEEN_TRIES = 0.1


class Taken(Exception):
    """Another process has the folder; the message says which."""


@contextmanager
def hold(folder: Path, *, patience_seconds: float = 0.0) -> Iterator[None]:
    """Have a folder, made if it is not there, for oneself in the block; left empty, it goes away.

    The kernel lets go of it when the process ends, however that is. A process must not hold a folder twice:
    the lock belongs to the process as a whole.

    Raises:
        Taken: Another process has it, and still has it after so many seconds.
    """
    path = folder / "lock"
    deadline = time.monotonic() + patience_seconds
    while (descriptor := _try_to_take(path)) is None:
        if time.monotonic() >= deadline:
            raise Taken(_describe_owner(path))
        time.sleep(_SECONDS_BETWEEN_TRIES)
    try:
        with suppress(OSError):  # of a full disk: who it is matters less than that it is held
            _sign(descriptor)
        yield
    finally:
        with suppress(OSError):  # someone removed it, or put something into it just now
            if [entry.name for entry in folder.iterdir()] == [path.name]:
                path.unlink()
                folder.rmdir()
        os.close(descriptor)


def _try_to_take(path: Path) -> int | None:
    """Return the descriptor of the lock, or None if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None  # its owner removed the folder just now
    try:
        # Not flock, which the loader's worker processes would inherit and hold after this one is killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except OSError:
        pass  # taken, or removed between the two lines above
    os.close(descriptor)
    return None


def _sign(descriptor: int) -> None:
    """Write down who has the folder, since when, and where it works."""
    owner = [os.getpid(), socket.gethostname(), f"{datetime.now():%Y-%m-%d %H:%M}", str(Path.cwd())]
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _describe_owner(path: Path) -> str:
    try:
        process, host, since, folder = json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        return "another process"
    return f"process {process} on {host}, begun {since} in {folder},"
