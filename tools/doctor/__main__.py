"""Find what stands in the way of the next run, most of it left behind by killed ones.

python -m tools.doctor             name it; exit status 1 if there is anything
python -m tools.doctor --fix       fix it
python -m tools.doctor --fix --alone   also clean up after processes that may run where they cannot be seen
python -m tools.doctor --inputs    only what DVC itself needs; `make repro` asks this before DVC starts
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stages.shared.errors import InputError, run_stage
from stages.shared.paths import find_dvc_folder
from tools.doctor.dvc_cache import check_cache
from tools.doctor.killed_runs import check_killed_runs
from tools.doctor.obstacle import Obstacle
from tools.doctor.prerequisites import check_prerequisites, describe_obstacles_of_experiments
from tools.doctor.processes import describe_unseen, find_dvc_processes


def main() -> None:
    """Print a line for each obstacle, and remove it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m tools.doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--fix", action="store_true", help="fix what is found")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="take it from you that nobody else is at work here: no other user, container or machine",
    )
    parser.add_argument(
        "--inputs", action="store_true", help="only check parameters, the files they name, and Git"
    )
    arguments = parser.parse_args()
    dvc_folder = find_dvc_folder()
    if dvc_folder is None or not Path("params.yaml").exists():
        raise InputError(f"{Path.cwd()}: is not the top of a DVC repository; run this there")
    left = []
    num_found = 0
    obstacles = (
        check_prerequisites(dvc_folder)
        if arguments.inputs
        else find_obstacles(dvc_folder, is_alone=arguments.alone)
    )
    for obstacle in obstacles:
        num_found += 1
        if not arguments.fix or obstacle.fix is None:
            left.append(obstacle.text)
            continue
        try:
            obstacle.fix()
        except (InputError, OSError) as error:
            left.append(f"{obstacle.text}\n  not fixed: {error}")
        else:
            print(f"fixed: {obstacle.text}")
    notes = [] if arguments.inputs else list(describe_obstacles_of_experiments())
    if left:
        raise InputError("\n".join((*left, *notes)))
    whose = " of dvc repro" if notes else ""
    print("doctor: everything is fixed" if num_found else f"doctor: nothing stands in the way{whose}")
    for note in notes:
        print(note)


def find_obstacles(dvc_folder: Path, *, is_alone: bool) -> Iterator[Obstacle]:
    """Yield every obstacle. While dvc runs here, what it keeps for itself is left alone.

    Args:
        dvc_folder: Of the repository.
        is_alone: The user says that nobody is at work here unseen.
    """
    yield from check_prerequisites(dvc_folder)
    yield from check_cache(dvc_folder)
    if processes := find_dvc_processes(dvc_folder.parent):
        print(f"doctor: dvc is running here (process {processes[0]}): locks and experiments are not checked")
        return
    left = list(check_killed_runs(dvc_folder))
    unseen = list(describe_unseen(dvc_folder)) if left and not is_alone else []
    for reason in unseen:
        print(f"doctor: {reason}")
    if unseen:
        print(
            "doctor: so what looks like leftovers of a killed dvc is left alone; if nobody else is at work "
            "here: python -m tools.doctor --fix --alone"
        )
    yield from (replace(obstacle, fix=None) for obstacle in left) if unseen else left


if __name__ == "__main__":
    run_stage(main)
