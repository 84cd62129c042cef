"""Git, as tools ask it."""

import subprocess
from pathlib import Path

from stages.shared.errors import InputError, printable


def read_git(*arguments: str, folder: Path | None = None, stdin: bytes = b"") -> bytes:
    """Return what a command of Git prints.

    Args:
        arguments: Of the command, its name first.
        folder: To run it in; None: this one.
        stdin: What it reads.

    Raises:
        InputError: It failed, or there is no Git.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("git: is not installed, or not on the PATH") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise InputError(f"git {arguments[0]}: {printable(message)}")
    return done.stdout


def run_git(*arguments: str, folder: Path | None = None) -> str:
    """Return what a command of Git prints, as text; see `read_git`."""
    return read_git(*arguments, folder=folder).decode(errors="replace")
