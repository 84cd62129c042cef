"""Whether the results are those of the parameters, code and data that are here.

python -m stages.verify            compare and rehash everything; exit status 1 if something does not agree
python -m stages.verify --rerun    also train again, in a temporary place, and compare every byte
"""

import argparse

from stages.params.read import read_params
from stages.shared.errors import InputError, run_stage


def main() -> None:
    """Print a line for each thing that does not agree, or that all does."""
    arguments = argparse.ArgumentParser(prog="python -m stages.verify", description=__doc__.split("\n")[0])
    arguments.add_argument(
        "--rerun", action="store_true", help="train again, in a temporary place, and compare every byte"
    )
    rerun = arguments.parse_args().rerun
    params = read_params()
    from stages.verify.lock import check_lock
    from stages.verify.records import check_records
    from stages.verify.rerun import check_rerun

    problems, num_files = check_lock()
    problems += check_records(params)
    if rerun:
        problems += check_rerun(params)
    if problems:
        raise InputError("\n".join(problems))
    again = ", and training again gave the same bytes" if rerun else ""
    print(f"verify: {num_files:,} files agree with dvc.lock, the cache and what is recorded in them{again}")


if __name__ == "__main__":
    run_stage(main)
