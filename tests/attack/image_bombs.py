"""Images that claim, or unpack to, far more than they hold: what each costs is bounded, taken or refused."""

from collections.abc import Iterator
from pathlib import Path

from stages.images.decode import DEFAULT_LIMITS
from tests.faults.tally import Tally
from tests.images.bombs import image_bombs
from tests.images.decode_child import OUT_OF_MEMORY, decode_apart

_MAX_SECONDS = DEFAULT_LIMITS.max_seconds
"""CPU time; a worker ends a file that takes more."""

_MAX_BYTES = 640 * 2**20
"""Memory that the process holds: 512 MB for pixels, and itself."""


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield a line for all bombs, each decoded in a process of its own, in a worker's memory."""
    del scratch, seed
    tally = Tally("image bombs")
    for name, make in image_bombs().items():
        try:
            (outcome,) = decode_apart([make()], max_memory_bytes=DEFAULT_LIMITS.max_memory_bytes)
        except AssertionError as error:
            tally.count(False, f"{name}: {error}")
            continue
        cost = f"{outcome.seconds:.1f} s, {outcome.peak_bytes / 2**20:.0f} MB: {outcome.reason}"
        is_cheap = outcome.seconds <= _MAX_SECONDS and outcome.peak_bytes <= _MAX_BYTES
        tally.count(is_cheap and outcome.reason != OUT_OF_MEMORY, f"{name}: {cost}")
    yield tally
