"""Train every feature on one, two and four processes, and compare the bytes of data/model.

    python -m tests.processes

Exit status 1 if any differ. The processes share the cores of this machine, however few there are.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.processes.cases import COMMON, EACH, LARGER, TOGETHER
from tests.processes.ranks import train_on
from tests.train.project import make_project

_COUNTS = (1, 2, 4)


def main() -> None:
    """Run the cases, print a line for each, and count those that differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.processes", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    arguments = parser.parse_args()
    chosen = {name: case for name, case in {**TOGETHER, **EACH}.items() if arguments.only in name}
    wrong = [name for name, case in chosen.items() if not compare(name, case)]
    print(f"{len(chosen)} cases, {len(wrong)} wrong")
    sys.exit(bool(wrong))


def compare(name: str, case: dict[str, Any]) -> bool:
    """Train a case in each number of processes, print and return whether all end in the same bytes."""
    changes = {**COMMON, **case}
    if case.get("network__name") == "torchvision":
        changes |= LARGER
    start = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_project(
            root,
            patch,
            num_train=10,
            height_px=changes["dataset__height_px"],
            width_px=changes["dataset__width_px"],
        )
        if "network__weights_file" in case:
            network = {key: value for key, value in changes.items() if key == "network__name"}
            train_on(root, 1, **COMMON, **network)
            (root / "data/model/last.safetensors").rename(root / "pretrained.safetensors")
        try:
            hashes = [train_on(root, count, **changes) for count in _COUNTS]
        except AssertionError as error:
            print(f"{name:50} {error}", flush=True)
            return False
    is_same = all(found == hashes[0] for found in hashes)
    print(
        f"{name:50} {'same' if is_same else 'DIFFERENT':10} {time.perf_counter() - start:6.1f} s", flush=True
    )
    return is_same


if __name__ == "__main__":
    main()
