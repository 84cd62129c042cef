"""tune: search settings, each trial an experiment, judged on the validation split.

python -m tools.tune            search as the section `tune` of params.yaml says
python -m tools.tune --jobs 2   two trials at a time
"""

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from stages.shared.errors import InputError, run_stage
from stages.shared.files import publish_folder
from stages.shared.paths import find_scratch
from stages.shared.stopping import Stopped

if TYPE_CHECKING:
    from tools.tune.trials import Search

FOLDER = Path("data/tune")
TABLE, PAGE = "trials.csv", "report.html"


def main() -> None:
    """Search settings; what was found is in data/tune."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="The same command goes on with a search that was stopped.",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="trials at a time (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs: found {arguments.jobs}; allowed: 1 or more")
    try:
        found = run_search(arguments.jobs)
    except Stopped:
        raise Stopped("tune: stopped; the same command goes on where it was") from None
    write_findings(found)


def run_search(num_jobs: int) -> "Search":
    """Run the search that params.yaml describes, or what is left of it.

    Raises:
        InputError: The space is wrong, something that trials need is missing, or no trial works.
    """
    from filelock import FileLock, Timeout

    from tools.tune.copies import Copies, check_prepared, identify, take_snapshot
    from tools.tune.proposals import open_proposals
    from tools.tune.search import Task, find_max_epochs, search
    from tools.tune.space import read_space

    params, document = read_space()
    scratch = find_scratch()
    if scratch is None:
        raise InputError(f"{Path.cwd()}: is no DVC repository, whose experiments trials are; run: dvc init")
    snapshot = take_snapshot()
    check_prepared()
    name = identify(snapshot, document.data)
    folder = scratch / "tune" / name
    folder.mkdir(parents=True, exist_ok=True)
    threads, cores = num_jobs * params.training.threads, os.cpu_count() or 1
    if threads > cores:
        say(f"{num_jobs} jobs of training.threads: {params.training.threads} share {cores} CPU cores")
    say(f"search {name}, {params.tune.trials} trials")
    try:
        with (
            FileLock(folder.with_suffix(".lock"), timeout=0, fallback_to_soft=False),
            open_proposals(
                folder / "trials.sqlite",
                params.tune,
                seed=params.training.seed,
                max_epochs=find_max_epochs(params),
            ) as proposals,
        ):
            copies = Copies(folder, snapshot, num_copies=num_jobs, metric=params.tune.metric)
            is_done = False
            try:
                found = search(Task(params, document, name, proposals, copies, num_jobs=num_jobs, say=say))
                is_done = True
            finally:
                copies.remove(with_states=is_done)
    except Timeout:
        raise InputError(f"search {name} is running already; wait for it, or stop it") from None
    return found


def write_findings(found: "Search") -> None:
    """Write data/tune, and say what was found and the command to type."""
    from tools.tune.space import write_overrides
    from tools.tune.trials import write_trials
    from tools.tune.tuning_page import write_page

    with publish_folder(FOLDER) as folder:
        write_trials(folder / TABLE, found)
        write_page(folder / PAGE, found)
    best = next(trial for trial in found.trials if trial.number == found.winner)
    say(f"trial {best.number}: {found.verdict}")
    say(f"open {FOLDER / PAGE}")
    words = [word for override in write_overrides(best.settings) for word in ("-S", override)]
    say(f"to train, test and report trial {best.number}: dvc exp run {shlex.join(words)}")


def say(line: str) -> None:
    """Print a line."""
    print(f"tune: {line}", flush=True)


if __name__ == "__main__":
    run_stage(main)
