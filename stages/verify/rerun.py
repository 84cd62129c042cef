"""Training again, in a temporary place, to compare every byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.params import Params
from stages.shared.files import sha256_of
from stages.shared.inputs import CODE_ROOT
from stages.shared.paths import DVCLIVE, METRICS, MODEL, PREPARED
from stages.shared.text import printable


def check_rerun(params: Params) -> list[str]:
    """Train from the first step, elsewhere, and return a line for each file that came out otherwise."""
    weights = Path(params.network.weights_file)
    with TemporaryDirectory(prefix="darkroom-verify-") as name:
        # So deep that weights beside the project are beside this one too, not out of the temporary folder.
        folder = Path(name, *["deeper"] * weights.parts.count(".."), "project")
        _lay_out(folder, weights)
        done = subprocess.run(
            [sys.executable, "-m", "stages.train"],
            cwd=folder,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("DVC_")},
                "PYTHONPATH": str(CODE_ROOT),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            return [f"training again failed: {printable(line)}" for line in done.stdout.splitlines()[-3:]]
        return [
            f"{file}: is not what training again gives"
            for output in (MODEL, DVCLIVE, METRICS / "train.json")
            for file in sorted(_list_files(output) | _list_files(output, below=folder))
            if _hash(file) != _hash(folder / file)
        ]


def _lay_out(folder: Path, weights: Path) -> None:
    """Make a folder in which train finds all that it found here, but no saved state."""
    (folder / ".dvc").mkdir(parents=True)
    shutil.copyfile("params.yaml", folder / "params.yaml")
    for path in (PREPARED, weights):
        if not path.is_absolute():
            place = Path(os.path.normpath(folder / path))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.absolute())


def _list_files(path: Path, *, below: Path = Path()) -> set[Path]:
    found = below / path
    files = [found] if found.is_file() else found.rglob("*")
    return {file.relative_to(below) for file in files if file.is_file()}


def _hash(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None
