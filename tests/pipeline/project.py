"""A copy of the project in a temporary Git repository, to run the real DVC in."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A clone with a DVC cache of its own."""

    root: Path

    def run(self, command: str, *, status: int | None = 0) -> str:
        """Run a shell command at the top of the project and return what it printed, both streams.

        Args:
            command: As a person would type it.
            status: The exit status it must have; None for any that is not 0.
        """
        # MAKE: what `make test ARGS=...` hands on, a make in here would take for its own.
        foreign = ("DVC_", "GIT_", "MAKE", "MFLAGS", "ARGS")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        fits = done.returncode != 0 if status is None else done.returncode == status
        assert fits, f"{command} exited with {done.returncode}:\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def set(self, old: str, new: str, *, file: str = "params.yaml") -> None:
        """Replace a piece of text that stands in a file."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} does not hold {old}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every file below data/."""
        files = sorted(path for path in (self.root / "data").rglob("*") if path.is_file())
        return {
            path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }


def clone_project(destination: Path, *, num_epochs: int) -> Project:
    """Copy what Git tracks or would track, as it is in the working tree, and commit it there.

    Args:
        destination: A folder that is not there yet.
        num_epochs: Epochs to train for; the copy is without dvc.lock and cache, so that stages run.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.split("\0"):
        if name and name != "dvc.lock" and (ROOT / name).is_file():
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    project = Project(destination)
    epochs_line = next(
        line for line in (destination / "params.yaml").read_text().splitlines() if "num_epochs:" in line
    )
    project.set(epochs_line, f"  num_epochs: {num_epochs}")
    project.set("threads: 2", "threads: 1")  # tests run two at a time
    project.run("git init -q && git config user.name Test && git config user.email test@example.org")
    project.run("git add -A && git commit -qm start")
    return project
