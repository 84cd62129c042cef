"""Damaged images: which of them are taken, and how unlike the sound ones they are.

    python -m tests.attack.mutants 10000

prints the shares that docs/images.md states.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.images.resize import Pixels
from tests.faults.tally import Tally
from tests.images.damage import damage
from tests.images.decode_child import MAX_SECONDS, Outcome, decode_apart
from tests.images.samples import whole_files
from tests.images.test_mutations import mutate
from tests.images.trees import decode_whole

_MUTANTS = 3000
_BATCH = 100
_MAX_DIFFERENCE = 5
"""Grey levels of 255, on average, by which a picture may differ and still be called the same."""

_SHARES = {
    "jpeg 2000": (0.78, 0.10),
    "jpeg": (0.27, 0.08),
    "png": (0.02, 0.0),
    "webp": (0.27, 0.06),
    "gif": (0.38, 0.04),
    "bmp": (0.80, 0.12),
    "tiff": (0.56, 0.02),
    "heic": (0.05, 0.03),
    "avif": (0.72, 0.66),
}
"""The most that may be taken of each format, and the most that may be taken and differ: what is measured
(docs/images.md), and as much more as another seed may bring."""


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield a line for each format, and one for files whose headers were changed."""
    del scratch
    count = _MUTANTS // len(_SHARES)
    for name, (most_taken, most_differing) in _SHARES.items():
        tally = Tally(f"mutants: {name}")
        taken, differing = count_taken(name, count, seed=seed, tally=tally)
        tally.note = f"{taken} taken, {differing} of them differ by more than {_MAX_DIFFERENCE} grey levels"
        if taken > most_taken * count or differing > most_differing * count:
            tally.wrong.append(f"{tally.name}: {tally.note}; docs/images.md says fewer")
        yield tally
    yield _change_headers(_MUTANTS, seed=seed)


def count_taken(name: str, count: int, *, seed: int, tally: Tally) -> tuple[int, int]:
    """Return how many damaged files of a format are taken, and how many of those look different."""
    whole = [(data, decode_whole(data)) for kind, data in whole_files().items() if _format_of(kind) == name]
    files, sound = [], []
    for number in range(count):
        data, pixels = whole[number % len(whole)]
        files.append(damage(data, seed * 1_000_003 + number))
        sound.append(pixels)
    outcomes = _decode(files, tally)
    differences = [
        _difference(outcome.pixels, pixels)
        for outcome, pixels in zip(outcomes, sound, strict=True)
        if outcome is not None and outcome.pixels is not None
    ]
    return len(differences), sum(difference > _MAX_DIFFERENCE for difference in differences)


def _format_of(kind: str) -> str:
    return next((name for name in _SHARES if kind.startswith(name)), "")


def _difference(pixels: Pixels, sound: Pixels) -> float:
    """Return by how many grey levels two pictures differ on average; 255 if their sizes do."""
    if pixels.shape != sound.shape:
        return 255
    return float(np.abs(pixels.astype(int) - sound).mean())


def _change_headers(count: int, *, seed: int) -> Tally:
    """Try files of which many have changed headers: each has pixels or a reason."""
    tally = Tally("mutants: headers")
    whole = list(whole_files().values())
    files = [mutate(whole[number % len(whole)], seed * 1_000_003 + number) for number in range(count)]
    _decode(files, tally)
    return tally


def _decode(files: Sequence[bytes], tally: Tally) -> list[Outcome | None]:
    """Return what becomes of each file, None where a decoder's process ended; count what is wrong."""
    found: list[Outcome | None] = []
    for start in range(0, len(files), _BATCH):
        batch = files[start : start + _BATCH]
        try:
            outcomes = decode_apart(batch)
        except AssertionError as error:
            tally.count(False, f"{start} and on: {error}")
            found += [None] * len(batch)
            continue
        for number, outcome in enumerate(outcomes, start):
            is_right = (outcome.pixels is None) == bool(outcome.reason) and outcome.reason.isprintable()
            tally.count(
                is_right and outcome.seconds < MAX_SECONDS,
                f"{number}: {outcome.reason!r}, {outcome.seconds:.1f} s",
            )
        found += outcomes
    return found


def main() -> None:
    """Print the table of docs/images.md."""
    count = int(sys.argv[1])
    print(f"{'of ' + str(count):<12}{'taken':>8}{'differ':>8}")
    for name in _SHARES:
        tally = Tally(name)
        taken, differing = count_taken(name, count, seed=0, tally=tally)
        print(f"{name:<12}{taken / count:>8.1%}{differing / count:>8.1%}", *tally.wrong)


if __name__ == "__main__":
    main()
