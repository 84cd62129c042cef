"""Whether dvc is at work in a repository right now."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil


def find_dvc_processes(root: Path) -> list[int]:
    """Return the processes of dvc, and the stages they run, that work in a folder or below it."""
    return sorted(process.pid for process in psutil.process_iter() if _is_dvc(process, root.resolve()))


def is_alive(process: int) -> bool:
    """Return whether there is a process of that number that has not ended."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _is_dvc(process: psutil.Process, root: Path) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return Path(process.cwd()).is_relative_to(root) and any(map(_names_dvc, _arguments_of(process)))
    except (psutil.Error, OSError):
        return False  # ended just now, or is of another user


def _arguments_of(process: psutil.Process) -> Iterator[str]:
    """Yield what a process was called as: the program, or what Python was told to run."""
    arguments = process.cmdline()
    yield from arguments[:2]
    if "-m" in arguments[:-1]:
        yield arguments[arguments.index("-m") + 1]


def _names_dvc(argument: str) -> bool:
    return Path(argument).name in ("dvc", "dvc.exe") or argument in (
        "stages.prepare_dataset",
        "stages.train",
        "stages.evaluate",
    )
