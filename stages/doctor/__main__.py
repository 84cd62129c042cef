"""What killed runs left behind that stands in the way of the next one.

python -m stages.doctor          name it; exit status 1 if there is anything
python -m stages.doctor --fix    put it right
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from stages.doctor.cache import check_cache
from stages.doctor.dead_tasks import check_dead_tasks
from stages.doctor.experiment_folders import check_experiment_folders
from stages.doctor.finding import Finding
from stages.doctor.imported_code import check_imported_code
from stages.doctor.left_params import check_left_params
from stages.doctor.missing_inputs import check_missing_inputs
from stages.doctor.processes import find_dvc_processes
from stages.doctor.reference_locks import check_reference_locks
from stages.doctor.rwlock import check_rwlock
from stages.shared.dvc_repository import find_dvc_folder
from stages.shared.errors import InputError, run_stage


def main() -> None:
    """Print a line for each finding, and mend it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m stages.doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--fix", action="store_true", help="put right what is found")
    fix = parser.parse_args().fix
    dvc_folder = find_dvc_folder()
    if dvc_folder is None or not Path("params.yaml").exists():
        raise InputError(f"{Path.cwd()}: is not the top of a DVC repository; run this there")
    open_lines = []
    num_found = 0
    for finding in find_all(dvc_folder):
        num_found += 1
        if not fix or finding.mend is None:
            open_lines.append(finding.text)
            continue
        try:
            finding.mend()
        except (InputError, OSError) as error:
            open_lines.append(f"{finding.text}\n  not mended: {error}")
        else:
            print(f"mended: {finding.text}")
    if open_lines:
        raise InputError("\n".join(open_lines))
    print("doctor: nothing stands in the way" if not num_found else "doctor: all is mended")


def find_all(dvc_folder: Path) -> Iterator[Finding]:
    """Yield everything; what dvc keeps while it runs is looked at only while it does not."""
    yield from check_missing_inputs()
    yield from check_imported_code()
    yield from check_cache(dvc_folder)
    if processes := find_dvc_processes(dvc_folder.parent):
        print(
            f"doctor: dvc is at work here (process {processes[0]}): experiments and locks are not looked at"
        )
        return
    # First: with one of these dvc cannot mend the others.
    yield from check_rwlock(dvc_folder)
    yield from check_reference_locks()
    yield from check_left_params(dvc_folder)
    yield from check_dead_tasks(dvc_folder)
    yield from check_experiment_folders(dvc_folder)


if __name__ == "__main__":
    run_stage(main)
