"""What DVC needs before it starts a stage: good parameters, files that they name, names in UTF-8, Git.

Where one of them is missing, DVC's own words lead nobody to the cause: `[Errno 2] No such file or directory`,
`surrogates not allowed`, `unexpected error`.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from schemas.params import Params
from schemas.vision.network import NO_WEIGHTS_FILE
from stages.params.read import read_params
from stages.shared.errors import InputError, printable
from stages.shared.paths import read_dvc_config, walk_seen_by_dvc
from tools.doctor.killed_runs import ask_git
from tools.doctor.obstacle import Obstacle
from tools.dvc_lock import parse_yaml

_ADVICE = {
    "dataset.source": "put class folders there, or set dataset.source to where yours are",
    "network.weights_file": "put the file there, or set network.weights_file: data/weights/none",
}

_STAGES = {"dataset.source": "ingest", "network.weights_file": "train"}
"""That depend on it."""


def check_prerequisites(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield what keeps DVC from starting a stage."""
    try:
        config = read_dvc_config(dvc_folder)
    except InputError as error:
        yield Obstacle(str(error))
    else:
        yield from _check_git(dvc_folder, config)
        yield from _check_locks(dvc_folder, config)
    yield from _check_locale()
    try:
        params = read_params()
    except InputError as error:
        yield Obstacle(str(error))
        return
    yield from _check_missing(params)
    yield from _check_names(Path(params.dataset.source))


def describe_obstacles_of_experiments() -> Iterator[str]:
    """Yield what stands in the way of experiments alone, some of which run in a copy of what is tracked."""
    if ask_git("rev-parse", "--git-dir") is None:
        return  # an obstacle of its own
    try:
        params = read_params()
    except InputError:
        return
    for key, found in _list_named(params).items():
        path = os.path.relpath(found)
        if (
            found != NO_WEIGHTS_FILE
            and not path.startswith("..")
            and Path(path).exists()
            and not _is_tracked(Path(path))
        ):
            yield (
                f"{key}: {printable(found)}: is in neither Git nor DVC, so dvc exp run --temp and --queue do "
                f"not find it; track it with: dvc add {printable(path)} && git commit -m images"
            )
    if ask_git("rev-parse", "--verify", "--quiet", "HEAD") is None:
        yield "git: has no commit yet, which dvc exp run needs: git add -A && git commit -m start"


def _list_named(params: Params) -> dict[str, str]:
    return {"dataset.source": params.dataset.source, "network.weights_file": params.network.weights_file}


def _check_git(dvc_folder: Path, config: Mapping[str, Any]) -> Iterator[Obstacle]:
    """Yield that there is no Git repository, unless DVC is told to do without."""
    if not config["core"].get("no_scm", False) and ask_git("rev-parse", "--git-dir") is None:
        yield _explain_no_git(dvc_folder.parent)


def _explain_no_git(folder: Path) -> Obstacle:
    if shutil.which("git") is None:
        return Obstacle("git: is not installed, or not on PATH; DVC needs it; install it")
    if ask_git("-c", "safe.directory=*", "rev-parse", "--git-dir") is not None:
        return Obstacle(
            f"{folder}: belongs to another user, as a shared folder in a container does, so Git refuses it; "
            f"if you trust it: git config --global --add safe.directory {shlex.quote(str(folder))}"
        )
    return Obstacle(
        f"{folder}: is in no Git repository, and DVC needs one, if only an empty one; make it with: git init",
        _make_repository,
    )


def _make_repository() -> None:
    if ask_git("init") is None:
        raise InputError("git init failed; is git installed?")


def _check_locks(dvc_folder: Path, config: Mapping[str, Any]) -> Iterator[Obstacle]:
    """Yield that DVC cannot lock here, which it takes for another dvc at work, every time."""
    if config["core"].get("hardlink_lock", False):
        return
    with TemporaryFile(dir=dvc_folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield Obstacle(
                f"{dvc_folder}: its file system has no locks ({error.strerror}), which DVC takes for another "
                "dvc at work; have it use hard links, with: dvc config --local core.hardlink_lock true && "
                f"rm -f {dvc_folder}/tmp/lock {dvc_folder}/tmp/rwlock.lock",
                partial(_lock_by_links, dvc_folder),
            )


def _lock_by_links(dvc_folder: Path) -> None:
    command = [sys.executable, "-m", "dvc", "config", "--local", "core.hardlink_lock", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"dvc config failed: {printable(done.stderr.strip())}")
    for name in ("lock", "rwlock.lock"):
        # That they exist meant nothing until now.
        (dvc_folder / "tmp" / name).unlink(missing_ok=True)


def _check_locale() -> Iterator[Obstacle]:
    """Yield that Python, and so DVC, does not read file names as UTF-8 here; stages see to it themselves."""
    if "utf8" in sys._xoptions or sys.getfilesystemencoding() != "utf-8":
        yield Obstacle(
            "locale: file names are not read as UTF-8 here, and DVC stops at the first letter beyond ASCII "
            "in one; set: export PYTHONUTF8=1"
        )


def _check_missing(params: Params) -> Iterator[Obstacle]:
    """Yield the parameters that name a file or folder which does not exist, or DVC's record of one."""
    for key, found in _list_named(params).items():
        if found.endswith(".dvc") and Path(found).is_file():
            yield Obstacle(
                f"{key}: {printable(found)}: is DVC's record of what was added, which no stage can depend "
                f"on; set {key}: {printable(found.removesuffix('.dvc'))}"
            )
        elif not Path(found).exists() and not _is_frozen(_STAGES[key]):
            tracked = Path(f"{found.rstrip('/')}.dvc").exists()
            advice = "bring it back with: dvc checkout, or dvc pull" if tracked else _ADVICE[key]
            yield Obstacle(
                f"{key}: {printable(found)}: there is no such file or folder, and DVC starts nothing "
                f"without it; {advice}"
            )


def _is_frozen(stage: str) -> bool:
    """Return whether DVC leaves a stage as it is, whatever became of what it depends on."""
    try:
        return bool(parse_yaml(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage].get("frozen"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_names(source: Path) -> Iterator[Obstacle]:
    """Yield the first file or folder whose name DVC cannot write down."""
    for folder, subfolders, files in walk_seen_by_dvc(str(source)):
        for name in (*subfolders, *files):
            if not _is_utf8(name):
                yield Obstacle(
                    f"dataset.source: {printable(f'{folder}/{name}')}: its name is not UTF-8, and DVC starts "
                    "nothing with such a file; rename it, or all of them: "
                    f"convmv -r -f latin1 -t utf8 --notest {printable(str(source))}"
                )
                return


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_tracked(path: Path) -> bool:
    """Return whether Git has a path or something in it, or DVC has it, by a .dvc file that Git has."""
    names = [str(path), *(f"{place}.dvc" for place in (path, *path.parents) if place.name)]
    return bool(ask_git("ls-files", "--", *names))
