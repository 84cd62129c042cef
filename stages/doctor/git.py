"""Git, asked by its own command."""

import subprocess


def ask_git(*arguments: str) -> str | None:
    """Return what a git command prints, without the last newline; None if it fails or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n") if done.returncode == 0 else None
