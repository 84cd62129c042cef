"""Running trials: working copies of the project, in each of which `dvc exp run` trains one after another.

A copy is a Git clone of the project as it is when the search begins, uncommitted changes of tracked files
included, in `.dvc/tmp/darkroom/tune/`. It shares DVC's cache, prepared data included, by links. The search so
touches nothing in the user's folder, where `dvc exp run --temp` would stash and restore all changes for every
trial, and copy all data.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from schemas.vision.checkpoint import History
from stages.shared.errors import InputError, describe_error, printable
from stages.shared.paths import DVCLIVE, MAKE_PREPARED, MODEL, open_dvc_cache
from stages.shared.stopping import STOPPED
from tools.dvc_lock import read_lock
from tools.git import run_git
from tools.tune.space import SEED, TRAINED, Settings, write_overrides

TRAIN = "train"
_PREPARE = "prepare-dataset"
_CODE = ("dvc.yaml", "schemas/shared", "schemas/vision", "schemas/train")
_CODE_OF_STAGE = ("stages/shared", "stages/vision", "stages/train")
_CURVES = DVCLIVE.with_name(f"{DVCLIVE.name}.partial")  # where train shows them while it runs
_OF_ANOTHER_RUN = {"DVC_ROOT", "DVC_STAGE", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}
_SECONDS_TO_STOP = 120.0


@dataclass(frozen=True)
class Snapshot:
    """The project as it is when the search begins."""

    head: str
    """The commit that experiments are of."""

    tree: str
    """A commit of the working tree, uncommitted changes of tracked files included."""


@dataclass(frozen=True)
class Run:
    """What to train."""

    name: str
    """Of the experiment."""

    settings: Settings
    seed: int


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a value, or for a reason."""

    value: float | None = None
    """Of the metric, at the epoch that is kept."""

    curve: tuple[float, ...] = ()
    """The metric after each epoch."""

    reason: str = ""


def take_snapshot() -> Snapshot:
    """Return the project as it is; nothing in the folder changes.

    Raises:
        InputError: There is no Git repository, or no commit in it.
    """
    try:
        head = run_git("rev-parse", "--verify", "HEAD").strip()
    except InputError:
        raise InputError(
            "tools.tune needs a Git commit, of which trials are experiments; run: git add -A && git commit"
        ) from None
    return Snapshot(head, run_git("stash", "create").strip() or head)


def check_prepared() -> None:
    """Check that the prepared data are what params.yaml says: all trials train and validate on them.

    Raises:
        InputError: They are not, or DVC is at work here.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            changed = repo.status(targets=[_PREPARE], with_deps=True)
    except LockError:
        raise InputError(
            "tools.tune: dvc is at work here; wait for it, or see what it is with: python -m tools.doctor"
        ) from None
    except DvcException as error:
        raise InputError(f"tools.tune: dvc cannot tell what is up to date: {describe_error(error)}") from None
    if changed:
        stage = printable(next(iter(changed)))
        raise InputError(f"{stage} is not up to date, and trials share its data; run: {MAKE_PREPARED}")


def identify(snapshot: Snapshot, params: Mapping[str, Any]) -> str:
    """Return a hash of all that decides how a search goes: what it searches, code, parameters and data.

    Args:
        snapshot: Of the project.
        params: Of params.yaml, by section.
    """
    # How many trials there are changes none of them, so a search that ended goes on when there may be more.
    tune = {key: value for key, value in params["tune"].items() if key not in ("trials", "confirm_seeds")}
    lock = read_lock()
    data = [out["md5"] for stage in ("ingest", _PREPARE) for out in lock[stage]["outs"]]
    code = run_git("ls-tree", snapshot.tree, *_CODE, *_CODE_OF_STAGE)
    record = [tune, {section: params[section] for section in TRAINED}, data, code]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]


class Copies:
    """Runs trials in working copies, at most so many at a time."""

    def __init__(self, folder: Path, snapshot: Snapshot, *, num_copies: int, metric: str) -> None:
        """Make the copies.

        Args:
            folder: Of the search. What an earlier search left in it is stopped and removed.
            snapshot: What to copy.
            num_copies: How many runs there can be at a time.
            metric: That is read, as in val.loss.
        """
        self._folder, self._snapshot = folder / "copies", snapshot
        self._metric = metric.removeprefix("val.")
        self._saved_states = folder / "resume"
        self._saved_states.mkdir(parents=True, exist_ok=True)
        _stop_all_below(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._free = [self._make_copy(str(number)) for number in range(num_copies)]

    def start(self, run: Run) -> "RunningTrial":
        """Start a run in a copy that is free."""
        copy = self._free.pop()
        _restore(copy, self._snapshot)
        return RunningTrial(run, copy, self)

    def release(self, copy: Path, *, finished: str | None) -> None:
        """Take a copy back; the experiment that finished in it becomes one of the project."""
        self._free.append(copy)
        if finished is not None:
            ref = f"refs/exps/{self._snapshot.head[:2]}/{self._snapshot.head[2:]}/{finished}"
            run_git(
                *("-c", "gc.auto=0", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"),
                *(os.fspath(copy), f"{ref}:{ref}"),
            )

    def remove(self, *, with_states: bool) -> None:
        """Remove the copies, and what unfinished trials would be resumed from."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if with_states:
            shutil.rmtree(self._saved_states, ignore_errors=True)

    @property
    def metric(self) -> str:
        """Return the name of the metric in train's records."""
        return self._metric

    def _make_copy(self, name: str) -> Path:
        from dvc.config import Config

        root, copy = Path.cwd(), self._folder / name
        # --shared: objects that no branch leads to, as the snapshot, are there too.
        run_git("clone", "--quiet", "--shared", "--no-checkout", os.fspath(root), os.fspath(copy))
        run_git("update-ref", "--no-deref", "HEAD", self._snapshot.head, folder=copy)
        _restore(copy, self._snapshot)
        with suppress(FileNotFoundError):
            shutil.copy(root / ".dvc" / "config.local", copy / ".dvc")
        with Config(os.fspath(copy / ".dvc")).edit("local") as config:
            config["cache"] = {
                **config.get("cache", {}),
                "dir": open_dvc_cache(root / ".dvc").path.removesuffix("/files/md5"),
                # No stage writes into a file that is there, so links are safe.
                "type": "reflink,hardlink,symlink,copy",
            }
        scratch = copy / ".dvc" / "tmp" / "darkroom"
        scratch.mkdir(parents=True)
        (scratch / "resume").symlink_to(self._saved_states.absolute())
        features = root / ".dvc" / "tmp" / "darkroom" / "features"
        features.mkdir(exist_ok=True)
        (scratch / "features").symlink_to(features)
        return copy


class RunningTrial:
    """A run of train that has begun. `poll` it until it ends."""

    def __init__(self, run: Run, copy: Path, copies: Copies) -> None:
        self.run = run
        self._copy, self._copies = copy, copies
        self._is_closed = False
        self._errors = copy.with_name(f"{copy.name}.stderr")
        words = [
            word
            for override in write_overrides({**run.settings, SEED: run.seed})
            for word in ("--set-param", override)
        ]
        command = [sys.executable, "-m", "dvc", "exp", "run", "--name", run.name, *words]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                # Of train alone: the data are prepared, and their source need not be in the copy.
                [*command, "--single-item", TRAIN],
                cwd=copy,
                env=_build_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the search, which then asks the training to save
            )

    def read_curve(self) -> tuple[float, ...]:
        """Return the metric after each epoch so far; nothing while train has not begun or has ended."""
        path = self._copy / _CURVES / "plots" / "metrics" / "val" / f"{self._copies.metric}.tsv"
        with suppress(OSError):
            lines = path.read_text(encoding="utf-8").split("\n")[1:-1]  # a last line may be half written
            return tuple(float(line.split("\t")[-1]) for line in lines)
        return ()

    def poll(self) -> Outcome | None:
        """Return how the run ended; None while it runs.

        Raises:
            InputError: Somebody stopped it, who was not the search.
        """
        if self._process.poll() is None:
            return None
        if self._process.returncode:
            errors = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.endswith(f"exited with {STOPPED}") for line in errors):
                raise InputError(f"{self.run.name}: was stopped; the same command goes on")
            return Outcome(reason=_find_reason(errors))
        record = json.loads((self._copy / MODEL / "history.json").read_bytes())
        del record["sha256"]
        history = History.model_validate_json(json.dumps(record))
        curve = tuple(float(getattr(epoch.val, self._copies.metric)) for epoch in history.epochs)
        return Outcome(value=curve[history.best_epoch - 1], curve=curve)

    def request_stop(self) -> None:
        """Ask the training to save its state and end, if it has not."""
        for process in _list_stages(self._process.pid):
            with suppress(psutil.Error):
                process.terminate()

    def close(self, *, keep: bool = False) -> None:
        """End the run if it has not ended, and have its copy free for another.

        Args:
            keep: Whether the experiment, which finished, becomes one of the project.
        """
        if self._is_closed:
            return
        self._is_closed = True
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while self._process.poll() is None and time.monotonic() < deadline:
            self.request_stop()  # again, for the training may not have begun before
            time.sleep(0.1)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._copies.release(self._copy, finished=self.run.name if keep else None)


def _restore(copy: Path, snapshot: Snapshot) -> None:
    """Set all tracked files of a copy back to what they were when the search began."""
    for name in ("index.lock", "HEAD.lock"):
        (copy / ".git" / name).unlink(missing_ok=True)
    run_git("read-tree", "--reset", "-u", snapshot.tree, folder=copy)
    run_git("update-ref", "--no-deref", "HEAD", snapshot.head, folder=copy)
    # What a killed run left would be read as the curve of the next.
    shutil.rmtree(copy / _CURVES, ignore_errors=True)


def _build_environment() -> dict[str, str]:
    """Return ours, with the Python that runs this first on the path: DVC starts `python`."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_RUN}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _find_reason(errors: Sequence[str]) -> str:
    """Return the first line that says why a run failed; DVC says it in its own words at the end."""
    lines = [line.strip() for line in errors if line.strip() and not line.startswith("WARNING")]
    return printable(lines[0].removeprefix("ERROR: ")) if lines else "dvc exp run failed, and said nothing"


def _list_stages(process: int) -> Iterator[psutil.Process]:
    """Yield the stages that a process of DVC runs."""
    with suppress(psutil.Error):
        for child in psutil.Process(process).children(recursive=True):
            with suppress(psutil.Error):
                if f"stages.{TRAIN}" in child.cmdline():
                    yield child


def _stop_all_below(folder: Path) -> None:
    """Stop what a killed search left running: the training saves its state, and its dvc ends with it."""
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while running := [process for process in psutil.process_iter() if _trains_below(process, folder)]:
        is_late = time.monotonic() > deadline
        for process in running:
            with suppress(psutil.Error):
                if is_late:
                    process.kill()
                elif f"stages.{TRAIN}" in process.cmdline():
                    process.terminate()
        time.sleep(0.2)


def _trains_below(process: psutil.Process, folder: Path) -> bool:
    """Return whether a process is DVC or train, at work below a folder."""
    try:
        is_named = {"dvc", f"stages.{TRAIN}"} & set(process.cmdline())
        return bool(is_named) and Path(process.cwd()).is_relative_to(folder.resolve())
    except (psutil.Error, OSError):
        return False
