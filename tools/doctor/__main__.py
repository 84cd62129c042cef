"""Find what stands in the way of the next run, most of it left behind by killed ones.

python -m tools.doctor          name it; exit status 1 if there is anything
python -m tools.doctor --fix    fix it
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from stages.shared.errors import InputError, run_stage
from stages.shared.paths import find_dvc_folder
from tools.doctor.dvc_cache import check_cache
from tools.doctor.killed_runs import check_killed_runs, find_dvc_processes
from tools.doctor.missing_inputs import check_missing_inputs
from tools.doctor.obstacle import Obstacle


def main() -> None:
    """Print a line for each obstacle, and remove it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m tools.doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--fix", action="store_true", help="fix what is found")
    wants_fix = parser.parse_args().fix
    dvc_folder = find_dvc_folder()
    if dvc_folder is None or not Path("params.yaml").exists():
        raise InputError(f"{Path.cwd()}: is not the top of a DVC repository; run this there")
    left = []
    num_found = 0
    for obstacle in find_obstacles(dvc_folder):
        num_found += 1
        if not wants_fix or obstacle.fix is None:
            left.append(obstacle.text)
            continue
        try:
            obstacle.fix()
        except (InputError, OSError) as error:
            left.append(f"{obstacle.text}\n  not fixed: {error}")
        else:
            print(f"fixed: {obstacle.text}")
    if left:
        raise InputError("\n".join(left))
    print("doctor: everything is fixed" if num_found else "doctor: nothing stands in the way")


def find_obstacles(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield every obstacle. While dvc runs here, what it keeps for itself is left alone."""
    yield from check_missing_inputs()
    yield from check_cache(dvc_folder)
    if processes := find_dvc_processes(dvc_folder.parent):
        print(f"doctor: dvc is running here (process {processes[0]}): locks and experiments are not checked")
        return
    yield from check_killed_runs(dvc_folder)


if __name__ == "__main__":
    run_stage(main)
