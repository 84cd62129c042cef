"""Saved training states, and whose they are: a stopped run resumes and ends in the bytes of an unbroken one.

DVC deletes a stage's outputs before it runs the stage, and an experiment's whole folder after it. So states
live in `.dvc/tmp/darkroom/resume/<key>/` of the main repository, which `dvc repro`, `dvc exp run` and queue
workers all name in DVC_ROOT. The key is a hash of everything that the result depends on, so that a run
resumes only from what it would have computed itself.

A state is removed once DVC's cache holds the result that it led to, not when the stage ends: DVC commits the
outputs after that, and may find the disk full.
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.train.training import Training
from stages.shared.errors import InputError
from stages.shared.files import remove_leftovers, write_text
from stages.shared.paths import find_dvc_folder, hash_for_dvc, is_in_dvc_cache
from stages.shared.stopping import is_stop_requested, stop
from stages.train.ranks import ALONE, Processes
from stages.train.state import TrainingState
from stages.train.state_file import DamagedState, dump_state, parse_state, read_state, write_state

MAX_AGE_SECONDS = 14 * 24 * 3600.0
"""A state that nobody has resumed for so long is removed."""

MAX_BYTES = 20 * 2**30
"""Of all states together; the oldest go first."""

MAX_TIME_FRACTION = 0.02
"""Share of the time that saving may take: a state that takes long to write is saved less often than asked."""

_LOCK_SECONDS = 5.0
"""A run that was told to stop needs a moment to release its state."""

_STATES = "state-*.safetensors"
_RESULT = "result.json"
_OWNER = "owner.json"


class StateInUse(Exception):
    """Another process has the folder; the message says which."""


class SavedState:
    """The two newest states of one run. Use `open_saved_state`."""

    def __init__(self, folder: Path, training: Training, processes: Processes = ALONE) -> None:
        self._folder = folder
        self._processes = processes
        self._every_steps = training.save_every_steps
        self._every_seconds = training.save_every_seconds
        self._steps_since = 0
        self._saved_at = time.monotonic()
        self._place: str | None = None
        """Where the newest state is in the run."""

        self._save_seconds: list[float] = []
        """What the last two saves took, of which the shorter counts: a disk may stall now and then."""

    def restore(self, state: TrainingState) -> bool:
        """Restore the newest state that is whole, in all processes; return whether there is one."""
        is_there = self._read_newest(state)
        if self._processes.count > 1:
            own = dump_state(state.state_dict()) if self._processes.is_first else b""
            state.load_state_dict(parse_state(self._processes.from_first(own)))
        return is_there

    def _read_newest(self, state: TrainingState) -> bool:
        for path in self._newest_first():
            try:
                state.load_state_dict(read_state(path))
            except (DamagedState, OSError) as error:
                print(f"train: skips a saved state that is damaged ({error})")
                path.unlink(missing_ok=True)
            else:
                self._place = state.describe_place()
                return True
        return False

    def save_point(self, state: TrainingState) -> None:
        """Save the state if it is time to; if the stage was asked to stop, save it and stop.

        Raises:
            Stopped: The stage was asked to stop.
        """
        self._steps_since += 1
        # All processes stop after the same step, whichever was asked to.
        if self._processes.any(is_stop_requested()):
            self.save(state)
            message = f"train: stopped {state.describe_place()}; the same command resumes from there"
            stop(message if self._processes.is_first else "")  # one line for all of them
        if self._is_due():
            self.save(state)

    def _is_due(self) -> bool:
        if self._every_steps is not None and self._steps_since >= self._every_steps:
            return True
        if self._every_seconds is None:
            return False
        interval = max(self._every_seconds, min(self._save_seconds, default=0.0) / MAX_TIME_FRACTION)
        return time.monotonic() - self._saved_at >= interval

    def save(self, state: TrainingState) -> None:
        """Write the state beside the one before, and remove older ones.

        Two are kept, so that one is whole whatever happens while the other is written. A disk that cannot
        take it does not end a run that is going well: it may have room again before the result is written.

        Raises:
            InputError: The loss is NaN or infinite: no run should resume from such a state.
        """
        state.check_losses()
        start = time.monotonic()
        # Rises with every step, and once more at the end of an epoch, where step is 0 again.
        number = state.epoch * (len(state.losses) + 1) + state.step
        try:
            write_state(self._folder / f"state-{number:012}.safetensors", state.state_dict())
            self._place = state.describe_place()
            for old in self._newest_first()[2:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            print(f"train: cannot save its state: {error.strerror or error}; if stopped, it loses more work")
        self._steps_since, self._saved_at = 0, time.monotonic()
        self._save_seconds = [*self._save_seconds[-1:], self._saved_at - start]

    def describe_kept(self) -> str:
        """Return in words what a run that ends here leaves, and for whom."""
        if self._place is None:
            return "nothing was saved of this run yet"
        return (
            f"the state saved {self._place} is kept: the same command resumes there, should more memory be "
            "free, and with other parameters training starts again"
        )

    def note_result(self, folders: Sequence[Path]) -> None:
        """Note what was published. The states stay until DVC's cache has all of it."""
        if "DVC_STAGE" not in os.environ or not self._newest_first():
            _clear(self._folder)  # not run by DVC, or nothing was worth saving
            return
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        write_text(self._folder / _RESULT, json.dumps([hash_for_dvc(path) for path in files]))

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob(_STATES), reverse=True)


class _SavedByFirst(SavedState):
    """What processes other than the first have in place of a saved state: they write nothing."""

    def __init__(self, training: Training, processes: Processes) -> None:
        super().__init__(Path(os.devnull), training, processes)

    def save(self, state: TrainingState) -> None:
        """Leave it to the first process."""

    def note_result(self, folders: Sequence[Path]) -> None:
        """Leave it to the first process."""

    def _newest_first(self) -> list[Path]:
        return []


@contextmanager
def open_saved_state(key: str, training: Training, processes: Processes = ALONE) -> Iterator[SavedState]:
    """Yield the saved state of the run that a key stands for; no other run has it in the block.

    Args:
        key: A hash of all that the result depends on.
        training: The section, which says when to save.
        processes: Of the run; the first of them saves.

    Raises:
        InputError: Another process is training just this, or there is no DVC repository.
    """
    if not processes.is_first:
        yield _SavedByFirst(training, processes)
        return
    dvc_folder = find_dvc_folder()
    if dvc_folder is None:
        raise InputError(
            f"{Path.cwd()}: is in no DVC repository, where training saves its state; run: dvc init"
        )
    parent = dvc_folder / "tmp" / "darkroom" / "resume"
    folder = parent / key
    try:
        with lock_folder(folder, max_seconds=_LOCK_SECONDS):
            _remove_if_done(folder, dvc_folder)
            prune(parent, dvc_folder=dvc_folder, keep=folder)
            yield SavedState(folder, training, processes)
    except StateInUse as in_use:
        raise InputError(
            f"train: {in_use} trains just this already, by the same parameters, code and data; "
            "wait for it, or stop it"
        ) from None


@contextmanager
def lock_folder(folder: Path, *, max_seconds: float = 0.0, is_required: bool = False) -> Iterator[None]:
    """Have a folder to oneself in the block; it is created if missing, and removed if left empty.

    The kernel releases the lock when the process ends, however that is, and its forked loader workers with
    it, which end at once. Where locking fails, as on some network mounts, a line is printed and the folder is
    used without a lock. Two runs of one key save and publish the same bytes, each file whole; the worst is
    that the first to end removes the state that the other would resume from.

    Args:
        folder: To lock.
        max_seconds: To wait for another process that has it.
        is_required: Fail where locking fails, instead.

    Raises:
        StateInUse: Another process has it, and still has it after so many seconds.
        PermissionError: It is another user's.
        OSError: Locking fails, and is required.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, so that the folder can be removed while the lock is held. Where there are no locks,
    # filelock could go by the file's existence: one that a killed run leaves would stay for good.
    lock = FileLock(folder.with_suffix(".lock"), fallback_to_soft=False)
    try:
        lock.acquire(timeout=max_seconds)
    except Timeout:
        raise StateInUse(_describe_owner(folder)) from None
    except OSError as error:
        if is_required or isinstance(error, PermissionError):
            raise
        print(
            f"train: {lock.lock_file}: cannot lock ({error.strerror or error}); start no second run of this"
        )
    try:
        folder.mkdir(exist_ok=True)
        with suppress(OSError):  # a full disk: who has the folder matters less than that it is locked
            _write_owner(folder)
        yield
    finally:
        (folder / _OWNER).unlink(missing_ok=True)
        with suppress(OSError):  # there is a state in it
            folder.rmdir()
            # While it is held: filelock tries again when it has locked a file that was removed meanwhile.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _write_owner(folder: Path) -> None:
    """Write down who has the folder, since when, and where it works."""
    owner = [os.getpid(), socket.gethostname(), f"{datetime.now():%Y-%m-%d %H:%M}", str(Path.cwd())]
    (folder / _OWNER).write_text(json.dumps(owner), encoding="utf-8")


def _describe_owner(folder: Path) -> str:
    try:
        process, host, since, place = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return "another process"
    return f"process {process} on {host}, started {since} in {place},"


def prune(
    parent: Path,
    *,
    dvc_folder: Path,
    keep: Path,
    max_age_seconds: float = MAX_AGE_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Remove states whose result DVC has, that are too old, or that are too large together.

    States in use stay, also those of which no lock tells whether they are, and so does `keep`.
    """
    ages = {path: _seconds_since_use(path) for path in parent.iterdir() if path != keep and path.is_dir()}
    num_bytes = 0
    for folder in sorted(ages, key=ages.__getitem__):
        with suppress(StateInUse, OSError), lock_folder(folder, is_required=True):
            _remove_if_done(folder, dvc_folder)
            num_bytes += sum(path.stat().st_size for path in folder.glob(_STATES))
            if ages[folder] > max_age_seconds or num_bytes > max_bytes:
                _clear(folder)


def _remove_if_done(folder: Path, dvc_folder: Path) -> None:
    """Remove states whose result is in DVC's cache, and files that a killed run left half written."""
    remove_leftovers(folder)
    hashes = _read_result(folder / _RESULT)
    if hashes and all(is_in_dvc_cache(md5, dvc_folder=dvc_folder) for md5 in hashes):
        _clear(folder)


def _read_result(path: Path) -> list[str]:
    """Return the MD5 of every file that was published; none if nothing was, or the note of it is damaged."""
    try:
        hashes = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    is_whole = isinstance(hashes, list) and all(
        isinstance(md5, str) and re.fullmatch("[0-9a-f]{32}", md5) for md5 in hashes
    )
    return hashes if is_whole else []


def _clear(folder: Path) -> None:
    """Remove the states; the note of the result goes last, for it says that they may be removed."""
    for path in (*folder.glob(_STATES), folder / _RESULT):
        path.unlink(missing_ok=True)


def _seconds_since_use(folder: Path) -> float:
    times = [0.0]
    for path in (*folder.glob(_STATES), *folder.glob(_RESULT)):
        with suppress(FileNotFoundError):  # its own run, or another that prunes, removed it just now
            times.append(path.stat().st_mtime)
    return time.time() - max(times)
