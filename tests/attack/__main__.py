"""The attack suite: hostile files, small machines and busy folders, and what is lost, accepted or overrun.

    python -m tests.attack --only archives patterns

Local, bounded and repeatable: the seed decides what is tried. Exit status 1 if anything is wrong.
"""

import argparse
import importlib
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.faults.tally import Tally, print_table

PARTS = (
    "machine",  # stopped, frozen and small machines lose no sound image
    "mutants",  # damaged images
    "image_bombs",  # images that claim more than they hold
    "files",  # planted links, two outputs at once, other people's files and processes
    "filesystems",  # without locks or syncs, and DVC's own configuration
    "archives",  # zip and tar bombs
    "patterns",  # regular expressions and globs that never end
    "weights",  # mutated weights and checkpoints
)
"""Modules beside this one, in the order they run; `attack(scratch, *, seed)` of each yields tallies."""

MAX_SECONDS = 900
"""For a part, which takes two minutes at most: what never ends is wrong as well."""


def main() -> None:
    """Run the parts, print a line of the table as each ends, and every problem below it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", default=PARTS, help=" ".join(PARTS)
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random bytes, places and times (0)")
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        problems = print_table(run_parts(Path(folder), arguments.only, seed=arguments.seed))
    print(f"{time.monotonic() - start:.0f} s", *problems, sep="\n")
    sys.exit(bool(problems))


def run_parts(folder: Path, names: tuple[str, ...] | list[str], *, seed: int) -> Iterator[Tally]:
    """Yield what comes of each part; one that fails itself is wrong too, and the next ones still run.

    Args:
        folder: For a scratch folder for each part.
        names: Of the parts.
        seed: Of what is tried.
    """
    signal.signal(signal.SIGALRM, _end_part)
    for name in names:
        scratch = folder / name
        scratch.mkdir()
        try:
            signal.alarm(MAX_SECONDS)
            yield from importlib.import_module(f"tests.attack.{name}").attack(scratch, seed=seed)
        except Exception:
            yield Tally(name, wrong=[f"{name}: the part itself failed:\n{traceback.format_exc()}"])
        finally:
            signal.alarm(0)


def _end_part(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"it takes more than {MAX_SECONDS} s")


if __name__ == "__main__":
    main()
