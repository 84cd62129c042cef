"""The sample from nothing, twice, and `dvc repro` when there is nothing to do.

    python -m benchmarks.sample_pipeline

Works in temporary clones of HEAD, with DVC caches of their own. An empty pipeline of three stages shows what
DVC itself takes.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import measure_alternately, print_table

ROOT = Path(__file__).parents[1]
ROUNDS = 7
EMPTY_PIPELINE = """
stages:
  one: {cmd: cp in one, deps: [in], outs: [one]}
  two: {cmd: cp one two, deps: [one], outs: [two]}
  three: {cmd: cp two three, deps: [two], outs: [three]}
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        clones = [clone(Path(folder) / name) for name in ("first", "second")]
        for project in clones:
            start = time.perf_counter()
            run("dvc repro", project)
            print(f"dvc repro from nothing: {time.perf_counter() - start:.1f} s", flush=True)
        test = json.loads((clones[0] / "data/report/metrics.json").read_text())
        print(f"test accuracy: {test['accuracy']:.2%} of {test['num_images']} images")
        first, second = map(hash_data, clones)
        differing = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
        print(
            f"files under data/ that differ between two clean runs: {len(differing)} of {len(first)}",
            *differing,
        )

        empty = Path(folder) / "empty"
        empty.mkdir()
        (empty / "dvc.yaml").write_text(EMPTY_PIPELINE)
        (empty / "in").write_text("nothing\n")
        run("git init -q && dvc init -q && dvc repro", empty)
        contestants = {
            "empty pipeline": lambda: run("dvc repro", empty),
            "darkroom": lambda: run("dvc repro", clones[0]),
        }
        print(f"\ndvc repro with nothing to do, {ROUNDS} rounds:")
        print_table(measure_alternately(contestants, rounds=ROUNDS), base="empty pipeline")


def clone(destination: Path) -> Path:
    """Return a clone of HEAD that has no outputs and no cache."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(destination)], check=True)
    (destination / "dvc.lock").unlink(missing_ok=True)
    return destination


def run(command: str, folder: Path) -> None:
    """Run a shell command with this Python's programs first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        command,
        shell=True,
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PATH": path},
    )


def hash_data(project: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below data/."""
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (project / "data").rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    main()
