"""Weights and checkpoints of others: whatever their bytes are, they are read, or refused in a cheap line.

Each group of files is read in a process of its own, which is measured: its CPU time, its peak of memory.
"""

import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.faults.tally import Tally

NUM_WEIGHTS = 2400
NUM_CHECKPOINTS = 1000

MAX_CPU_SECONDS = 20.0
"""For one file. What the attacks that hang take has no end."""

MAX_MEMORY = 512 * 2**20
"""Bytes beside four times the size of the file."""

_GROUP_SECONDS = 300.0


class Outcome(NamedTuple):
    """What became of a file."""

    name: str
    problem: str
    """Empty if it ended as it must."""

    seconds: float
    grown: int
    """Bytes by which the process's peak of memory grew."""


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield what came of hostile and of mutated weights, of forged and of mutated checkpoints."""
    sprung = scratch / "sprung"
    for name, read in {
        "hostile weights": read_hostile_weights,
        "mutated weights": read_mutated_weights,
        "forged checkpoints": read_forged_checkpoints,
        "mutated checkpoints": read_mutated_checkpoints,
    }.items():
        tally = Tally(name)
        outcomes = _run_alone(read, scratch, seed)
        for outcome in outcomes:
            tally.count(not outcome.problem, f"{outcome.name}: {outcome.problem}")
        if not outcomes:
            tally.count(False, "the process that read them hung or was killed")
        slowest = max((outcome.seconds for outcome in outcomes), default=0.0)
        tally.note = f"slowest {slowest:.1f} s of CPU time, memory +{_grown_mib(outcomes)} MiB at most"
        tally.count(not sprung.exists(), "code in a file ran")
        yield tally
    yield _run_predict(scratch)


def _grown_mib(outcomes: list[Outcome]) -> int:
    return max((outcome.grown for outcome in outcomes), default=0) // 2**20


def _run_alone(read: Callable[[Path, int], list[Outcome]], scratch: Path, seed: int) -> list[Outcome]:
    """Return what a function returns in a new process; nothing if that hangs or dies."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(scratch,))
    try:
        return pool.submit(read, scratch, seed).result(timeout=_GROUP_SECONDS)
    except (BrokenProcessPool, TimeoutError):
        return []
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(scratch: Path) -> None:
    os.chdir(scratch)  # where the code in a file would leave its mark
    # A process that loops for ever ends by itself, whatever becomes of the suite.
    seconds = int(_GROUP_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def read_hostile_weights(scratch: Path, seed: int) -> list[Outcome]:
    """Read every hostile file; each must be refused."""
    from stages.vision.pretrained import read_weights
    from tests.vision.hostile_weights import PICKLES, bombs, legacy_file, safetensors_files, zip_file

    del seed
    files = {f"zip: {name}": zip_file(pickle) for name, pickle in PICKLES.items()}
    files |= {f"legacy: {name}": legacy_file(pickle) for name, pickle in PICKLES.items()}
    files |= {f"safetensors: {name}": data for name, data in safetensors_files().items()}
    outcomes = [
        _try(name, scratch / "weights.pth", data, read_weights, must_fail=True)
        for name, data in files.items()
    ]
    # Made one after the other, for each has some megabytes.
    return outcomes + [
        _try(name, scratch / "weights.pth", make(), read_weights) for name, make in bombs().items()
    ]


def read_mutated_weights(scratch: Path, seed: int) -> list[Outcome]:
    """Read mutants of a whole file of each format."""
    from stages.vision.pretrained import read_weights
    from tests.vision.hostile_weights import mutate, whole_files

    files = whole_files()
    count = NUM_WEIGHTS // len(files)
    return [
        _try(
            f"{kind}, mutant {seed * count + number}",
            scratch / "weights.pth",
            mutate(whole, seed=seed * count + number),
            read_weights,
        )
        for kind, whole in files.items()
        for number in range(count)
    ]


def read_forged_checkpoints(scratch: Path, seed: int) -> list[Outcome]:
    """Load every forged checkpoint as predict does."""
    from tests.vision.hostile_checkpoints import FORGED, HARMLESS, forge

    del seed
    return [
        _try(
            name, scratch / "best.safetensors", forge(name), load_for_predict, must_fail=name not in HARMLESS
        )
        for name in FORGED
    ]


def read_mutated_checkpoints(scratch: Path, seed: int) -> list[Outcome]:
    """Load mutants of a checkpoint, most of them with right hashes, and predict with those that are whole."""
    from tests.vision.hostile_checkpoints import mutate_checkpoint

    seeds = range(seed * NUM_CHECKPOINTS, (seed + 1) * NUM_CHECKPOINTS)
    return [
        _try(
            f"mutant {number}", scratch / "best.safetensors", mutate_checkpoint(seed=number), load_for_predict
        )
        for number in seeds
    ]


def load_for_predict(path: Path) -> None:
    """Load a checkpoint as predict does, and predict one image."""
    import numpy as np
    import torch

    from stages.vision.checkpoint import parse_weights, read_document
    from tools.predict.checkpoint_model import CheckpointModel

    checkpoint, data = read_document(path)
    weights = parse_weights(data, checkpoint, path=path)
    model = CheckpointModel(checkpoint, weights, device=torch.device("cpu"))
    form = checkpoint.image
    pixels = np.zeros((form.height_px, form.width_px, form.num_channels), dtype=np.uint8)
    assert model.compute([pixels]).probabilities.shape == (1, len(checkpoint.classes))


def _try(
    name: str, path: Path, data: bytes, read: Callable[[Path], object], *, must_fail: bool = False
) -> Outcome:
    from stages.shared.errors import InputError

    path.write_bytes(data)
    peak, start = _peak_memory(), time.process_time()
    problem = "was accepted" if must_fail else ""
    try:
        read(path)
    except InputError as error:
        is_line = str(error).isprintable() and len(str(error)) < 2000
        problem = "" if is_line else f"its message is no line: {str(error)[:200]!r}"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:300]
    seconds, grown = time.process_time() - start, _peak_memory() - peak
    if seconds > MAX_CPU_SECONDS:
        problem = problem or f"took {seconds:.0f} s"
    if grown > 4 * len(data) + MAX_MEMORY:
        problem = problem or f"took {grown / 2**20:,.0f} MiB for {len(data):,} bytes"
    return Outcome(name, problem, seconds, grown)


def _peak_memory() -> int:
    """Return the most bytes that this process has had in memory."""
    with suppress(FileNotFoundError):  # ru_maxrss begins at the peak of the process that started this
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return 1024 * int(peak)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _run_predict(scratch: Path) -> Tally:
    """Run the command itself on a few forged checkpoints: one clean line on the terminal."""
    from tests.vision.hostile_checkpoints import forge

    tally = Tally("predict with forged checkpoints")
    path = scratch / "foreign.safetensors"
    for name in ("the largest cnn", "an escape in a class", "10^9 threads"):
        path.write_bytes(forge(name))
        done = subprocess.run(
            [sys.executable, "-m", "tools.predict", "--checkpoint", path, path, "--workers", "1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        lines = done.stderr.splitlines()
        is_right = done.returncode == 1 and not done.stdout and all(line.isprintable() for line in lines)
        tally.count(
            is_right and "Traceback" not in done.stderr, f"{name}: {done.returncode}, {done.stderr[-300:]!r}"
        )
    return tally
