"""Copies of the repository that `dvc exp run --temp` and queue workers ran in; killed ones leave them."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stages.doctor.finding import Finding


def check_experiment_folders(dvc_folder: Path) -> Iterator[Finding]:
    """Yield the copies that were left; ask only while no dvc is at work."""
    experiments = dvc_folder / "tmp" / "exps"
    for folder in sorted((*experiments.glob("tmp*"), *experiments.glob("standalone/tmp*"))):
        if folder.is_dir() and (folder / ".git").exists():
            num_bytes = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            yield Finding(
                f"{folder}: is the folder of an experiment that was killed, {num_bytes / 2**20:,.0f} MiB; "
                "delete it (its saved training state lies elsewhere: the same experiment goes on from there)",
                partial(shutil.rmtree, folder),
            )
