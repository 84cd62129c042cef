"""The fault suite: stops, damages and edits runs in every way, and counts what does not end as it must.

    python -m tests.faults --kills 500

Works in a temporary clone of the working folder, with the real DVC. Exit status 1 if anything is wrong.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.broken_disk import break_files
from tests.faults.damage import damage_artifacts
from tests.faults.edits import change_every_input, edit_while_running
from tests.faults.edits_under_dvc import EDITS, edit_under_dvc
from tests.faults.full_disk import NoSmallDisk, fill_disks, small_disk
from tests.faults.kill_jobs import kill_runs
from tests.faults.kill_ranks import kill_ranks
from tests.faults.small_project import make_small_project
from tests.faults.tally import Tally, print_table
from tests.faults.wrong_files import give_wrong_files


def main() -> None:
    """Run all parts, print a line of the table as each ends, and every problem below it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--kills",
        type=int,
        default=500,
        help="runs to stop (500); of this and what follows 0 leaves the part out",
    )
    parser.add_argument("--kill-ranks", type=int, default=100, help="runs of two processes to kill (100)")
    parser.add_argument("--edits", type=int, default=100, help="edits while a stage runs (100)")
    parser.add_argument(
        "--flips", type=int, default=1000, help="bytes to flip in each kind of artifact (1000)"
    )
    parser.add_argument("--cuts", type=int, default=200, help="cuts of each kind of artifact (200)")
    parser.add_argument("--wrong-files", type=int, default=300, help="wrong parameter files (300)")
    parser.add_argument("--failing-files", type=int, default=300, help="files that fail (300)")
    parser.add_argument("--full-disks", type=int, default=100, help="disks that fill up (100)")
    parser.add_argument("--jobs", type=int, default=2, help="projects side by side to stop runs in (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the random times and ways (0)")
    arguments = parser.parse_args()
    # Stages that are ended may still write for a moment.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        problems = print_table(run_all(Path(folder), arguments))
    print(*problems, sep="\n")
    sys.exit(bool(problems))


def run_all(folder: Path, arguments: argparse.Namespace) -> Iterator[Tally]:
    """Yield what came of each part that is asked for, the quick ones first."""
    seed = arguments.seed
    counts = vars(arguments).items()
    if any(count for name, count in counts if name not in ("kills", "kill_ranks", "jobs", "seed")):
        project = make_small_project(folder / "project", num_epochs=6, last_stage="evaluate export")
        (folder / "scratch").mkdir()
        if arguments.flips + arguments.cuts:
            yield from damage_artifacts(
                project.root, folder / "scratch", flips=arguments.flips, cuts=arguments.cuts, seed=seed
            )
        if arguments.edits:
            yield edit_while_running(project.root, count=arguments.edits, seed=seed)
            yield change_every_input(project.root)
        if arguments.wrong_files:
            yield give_wrong_files(project.root, count=arguments.wrong_files, seed=seed)
        if arguments.failing_files:
            yield break_files(project, count=arguments.failing_files, seed=seed)
        if arguments.edits:
            yield edit_under_dvc(project, EDITS)
        if arguments.full_disks:
            try:
                with small_disk(folder / "disk") as disk:
                    yield fill_disks(project, disk, count=arguments.full_disks, seed=seed)
            except NoSmallDisk as reason:
                print(f"full disks: left out, for this machine makes no small one: {reason}")
    if arguments.kill_ranks:
        yield kill_ranks(folder / "ranks", count=arguments.kill_ranks, seed=seed)
    if arguments.kills:
        yield from kill_runs(folder / "kills", count=arguments.kills, seed=seed, jobs=arguments.jobs)


if __name__ == "__main__":
    main()
