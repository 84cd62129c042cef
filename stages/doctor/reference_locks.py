"""Locks on Git's references to experiments; a killed dvc leaves one, and no experiment starts beside it."""

from collections.abc import Iterator
from pathlib import Path

from stages.doctor.finding import Finding
from stages.doctor.git import ask_git


def check_reference_locks() -> Iterator[Finding]:
    """Yield the locks that nobody holds; ask only while no dvc is at work, for Git writes none there."""
    git_folder = ask_git("rev-parse", "--git-common-dir")
    if git_folder is None:
        return
    for path in sorted(Path(git_folder, "refs", "exps").rglob("*.lock")):
        yield Finding(
            f"{path}: is the lock of a dvc that was killed; no experiment starts beside it; delete it",
            path.unlink,
        )
