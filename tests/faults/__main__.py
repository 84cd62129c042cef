"""The fault suite: stops training in every way and counts what does not end as if nothing had been.

    python -m tests.faults --kills 500

Works in a temporary clone of the working folder, with the real DVC. Exit status 1 if anything is wrong.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.kills import COMMANDS, draw_faults, inject, list_outputs
from tests.faults.small_project import make_small_project

NUM_FILE_EVENTS = 60
"""Files that a run of the small project touches, about: two states and the outputs."""


def main() -> None:
    """Inject, print a table, and every problem below it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=500, help="how many runs to stop (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the random times and ways (0)")
    arguments = parser.parse_args()
    counts: dict[str, Counter[str]] = {command: Counter() for command in COMMANDS}
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        project = make_small_project(Path(folder) / "project", num_epochs=6)
        expected = list_outputs(project)
        start = time.monotonic()
        project.run("dvc repro --force --single-item train")
        seconds = time.monotonic() - start
        faults = draw_faults(
            arguments.kills, seed=arguments.seed, num_file_events=NUM_FILE_EVENTS, num_seconds=0.7 * seconds
        )
        for fault in faults:
            outcome = inject(project, fault, expected)
            count = counts[fault.command]
            count["runs"] += 1
            count["stopped"] += outcome.was_stopped
            count["resumed"] += outcome.was_resumed
            count["wrong"] += bool(outcome.problems)
            problems += [f"{fault}: {problem}" for problem in outcome.problems]
    columns = ("runs", "stopped", "resumed", "wrong")
    print(f"{'command':<10}", *(f"{column:>8}" for column in columns))
    for command, count in counts.items():
        print(f"{command:<10}", *(f"{count[column]:>8}" for column in columns))
    print(*problems, sep="\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
