"""How long train takes to its first step, beyond importing torch.

    python -m benchmarks.startup

Runs `python -m stages.train` on the sample in a temporary copy, up to the end of its first training step,
and a Python that imports torch alone, in turns. Both leave without clearing away. Counted is the
processor's time, which others on the machine change little, and beside it the clock's. Hashing the prepared
images grows with them, and is told by itself.
"""

import argparse
import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WANTED = 0.5
PARTS = {
    "parameters": "Python, reading and checking params.yaml",
    "torch": "importing torch",
    "code": "importing the stage",
    "first step": "building, up to the end of the first step",
}
_MARKED_BY = {"torch": "parameters", "schemas": "torch", "stages": "torch"}
"""The first search for a module of these names ends a part."""


def main() -> None:
    """Measure and print; or be what is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--marked", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.marked:
        run_to_first_step()
        return
    with tempfile.TemporaryDirectory() as name:
        project = copy_project(Path(name) / "project")
        ours, torch_alone = [], []
        for _ in range(arguments.rounds + 1):
            torch_alone.append(measure([sys.executable, "-c", "import os, torch; os._exit(0)"], project))
            ours.append(measure([sys.executable, "-m", "benchmarks.startup", "--marked"], project))
        report(ours[1:], torch_alone[1:])
        report_hashing(project / "data/prepared")


def copy_project(destination: Path) -> Path:
    """Return a copy of the project in a repository of its own, with the sample prepared."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)
    for command in ("init -q", "add -A", "-c user.name=x -c user.email=x commit -q -m copy"):
        run(["git", *command.split()], destination)
    run([sys.executable, "-m", "stages.prepare_dataset"], destination)
    return destination


def run(command: Sequence[str], folder: Path) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a command; return its seconds `by the clock`, `of the processor`, and what its last line says."""
    before, start = os.times(), time.perf_counter()
    lines = run(command, folder).splitlines()
    seconds, after = time.perf_counter() - start, os.times()
    processor = sum(after[2:4]) - sum(before[2:4])
    parts: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return {**parts, "by the clock": seconds, "of the processor": processor}


class _Marks:
    """Notes the processor's time where train goes from one part to the next."""

    def __init__(self) -> None:
        self.times = {"": 0.0}

    def end(self, part: str) -> None:
        self.times.setdefault(part, time.process_time())

    def find_spec(self, name: str, *_: Any) -> None:
        """Be asked by every import of a new module; find none."""
        part = _MARKED_BY.get(name.partition(".")[0])
        if part == "parameters" or (part and "parameters" in self.times):
            self.end(part)
        if name == "stages.train.build":
            from torch.optim.optimizer import register_optimizer_step_post_hook

            self.end("code")
            register_optimizer_step_post_hook(self.leave)

    def leave(self, *_: Any) -> None:
        """End the process after the first step, and print the seconds of each part."""
        self.end("first step")
        times = list(self.times.items())
        seconds = {part: end - start for (_, start), (part, end) in pairwise(times)}
        print(json.dumps(seconds), flush=True)
        os._exit(0)


def run_to_first_step() -> None:
    """Run the stage in this process, as `python -m stages.train` does."""
    sys.meta_path.insert(0, _Marks())
    runpy.run_module("stages.train", run_name="__main__", alter_sys=True)


def report(ours: Sequence[dict[str, float]], torch_alone: Sequence[dict[str, float]]) -> None:
    """Print medians, and what train takes longer than torch alone, round by round."""
    print(f"train, to the end of its first step; {os.cpu_count()} cores, median of {len(ours)} rounds:")
    for part, what in PARTS.items():
        print(f"  {statistics.median(each[part] for each in ours):6.3f} s  {what}")
    for kind in ("of the processor", "by the clock"):
        pairs = [(one[kind], other[kind]) for one, other in zip(ours, torch_alone, strict=True)]
        more = sorted(one - other for one, other in pairs)
        train, alone = (statistics.median(values) for values in zip(*pairs, strict=True))
        line = f"{kind}: train {train:.3f} s, importing torch alone {alone:.3f} s, more "
        line += f"{statistics.median(more):.3f} s ({more[0]:.3f} .. {more[-1]:.3f}"
        print(line + (f"; wanted: {WANTED})" if kind == "of the processor" else ")"))


def report_hashing(folder: Path) -> None:
    """Print how fast prepared images are compared with their hashes, which is done before the first step."""
    from stages.vision.dataset import read_manifest

    start = time.process_time()
    for _ in range(10):
        read_manifest(folder)
    seconds = (time.process_time() - start) / 10
    num_bytes = sum(path.stat().st_size for path in folder.iterdir())
    print(f"comparing hashes is in it: {seconds:.3f} s for {num_bytes / 1e6:.1f} MB of prepared images")


if __name__ == "__main__":
    main()
