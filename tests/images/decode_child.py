"""Decodes files in a process of its own, which a decoder may crash, and tells of each what became of it.

Run as `python -m tests.images.decode_child`: a pickled list of files comes in, a pickled Outcome of each goes
out as soon as it is known.
"""

import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.shared.manifest import ImageForm
from stages.images.decode import Undecodable, decode_image
from stages.images.resize import Pixels
from tests.images.trees import form

MAX_SECONDS = 5

OUT_OF_MEMORY = "out of memory"
"""Reason for which a file has no pixels that is not the file's."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    pixels: Pixels | None
    reason: str
    seconds: float
    """CPU time."""

    peak_bytes: int
    """How much memory the process ever held."""


def decode_apart(
    files: Sequence[bytes], wanted: ImageForm | None = None, *, max_memory_bytes: int | None = None
) -> list[Outcome]:
    """Return what becomes of files in a decoder's own process; one that ends that process fails the test.

    Args:
        files: The files.
        wanted: The form; without one they are decoded whole.
        max_memory_bytes: How much memory the process may ask for beyond what it starts with.
    """
    task = pickle.dumps((list(files), wanted or form(height_px=4096, width_px=4096), max_memory_bytes))
    child = subprocess.run(
        [sys.executable, "-m", "tests.images.decode_child"], input=task, capture_output=True, check=False
    )
    outcomes = []
    rest = memoryview(child.stdout)
    while rest:
        num_bytes = int.from_bytes(rest[:8], "big")
        outcomes.append(pickle.loads(rest[8 : 8 + num_bytes]))
        rest = rest[8 + num_bytes :]
    assert child.returncode == 0, (
        f"file {len(outcomes)} ended the decoder: {child.returncode} {child.stderr!r}"
    )
    return outcomes


def read_peak_bytes() -> int:
    """Return how much memory this process ever held.

    Not `resource.getrusage`: what it says starts with what the parent held.
    """
    status = Path("/proc/self/status")
    if not status.exists():  # not on Linux
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextmanager
def limited_memory(num_bytes: int | None) -> Iterator[None]:
    """Have every request for more memory than that fail, beyond what the process has."""
    if num_bytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main() -> None:
    """Decode what standard input holds."""
    files, wanted, max_memory_bytes = pickle.load(sys.stdin.buffer)
    for data in files:
        signal.alarm(10 * MAX_SECONDS)  # ends the process
        start = time.process_time()
        pixels, reason = None, ""
        try:
            with limited_memory(max_memory_bytes):
                pixels = decode_image(data, wanted).pixels
        except Undecodable as error:
            reason = str(error)
        except MemoryError:
            reason = OUT_OF_MEMORY
        seconds = time.process_time() - start
        outcome = pickle.dumps(Outcome(pixels, reason, seconds, read_peak_bytes()))
        sys.stdout.buffer.write(len(outcome).to_bytes(8, "big") + outcome)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    # Under its full name, for what is pickled here is unpickled elsewhere.
    from tests.images.decode_child import main as run

    run()
