"""Wrong parameter files: refused by the stages themselves, soon, with the key's name, and nothing touched."""

import hashlib
import random
import resource
import subprocess
import sys
from pathlib import Path

from stages.params.document import format_path
from tests.faults.tally import Tally
from tests.params.wrong_params import write_with, wrong_values

MAX_SECONDS = 2.0
_STAGES = ("ingest", "prepare_dataset", "train", "evaluate", "export")


def give_wrong_files(project: Path, *, count: int, seed: int) -> Tally:
    """Run the stages on wrong files, each as a process of its own.

    Args:
        project: In which all stages ran; its params.yaml is put back.
        count: How many files.
        seed: Of which.
    """
    tally = Tally("wrong parameter files")
    path = project / "params.yaml"
    good = path.read_bytes()
    before = _hash_outputs(project)
    cases = random.Random(seed).sample(
        [(path, raw) for path, values in wrong_values().items() for raw in values], count
    )
    slowest = 0.0
    for number, (key, raw) in enumerate(cases):
        path.write_text(write_with(key, raw), encoding="utf-8")
        start = _processor_seconds()
        done = subprocess.run(
            [sys.executable, "-m", f"stages.{_STAGES[number % len(_STAGES)]}"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = _processor_seconds() - start
        slowest = max(slowest, seconds)
        named = format_path(key[:-1] if key[-1] in ("RandomCrop", "Normalize") else key)
        is_right = (
            done.returncode == 1
            and named in done.stderr
            and "Traceback" not in done.stderr
            and seconds < MAX_SECONDS
            and _hash_outputs(project) == before
        )
        tally.count(
            is_right, f"{format_path(key)}: {raw}: {done.returncode}, {seconds:.1f} s, {done.stderr[:200]}"
        )
    path.write_bytes(good)
    tally.note = f"slowest {slowest:.2f} s of processor time"
    return tally


def _processor_seconds() -> float:
    """Return what ended processes took: on a busy machine the clock on the wall tells of the others."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _hash_outputs(project: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((project / "data").rglob("*"))
        if path.is_file()
    }
