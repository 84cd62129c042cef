"""What a stopped run goes on from, saved now and then outside the outputs.

DVC deletes a stage's outputs before it runs the stage, and an experiment's whole folder after it. So the
state lies in `.dvc/tmp/darkroom/resume/<key>/` of the main repository, which `dvc repro`, `dvc exp run` and
queue workers all name in DVC_ROOT. The key is made of everything that the result depends on, so that a run
goes on only from what it would have computed itself.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.train.training import Training
from stages.shared.dvc_repository import find_dvc_folder, hash_for_dvc, is_in_dvc_cache
from stages.shared.errors import InputError
from stages.shared.files import write_text
from stages.shared.inputs import hash_json
from stages.shared.stopping import is_stop_requested, stop
from stages.train.lock import Taken, hold
from stages.train.state import TrainingState
from stages.train.state_file import DamagedState, read_state, write_state

MAX_AGE_SECONDS = 14 * 24 * 3600.0
"""A state that nobody has gone on from for so long is removed."""

MAX_BYTES = 20 * 2**30
"""Of all states together; the oldest go first."""

MAX_SHARE = 0.02
"""Of the time that saving may take: a state that takes long to write is saved less often than asked."""

_PATIENCE_SECONDS = 5.0
"""A run that was told to stop needs a moment to let go of its state."""

_STATES = "state-*.safetensors"
_RESULT = "result.json"


class SavedState:
    """The two newest states of one run. Use `open_saved_state`."""

    def __init__(self, folder: Path, training: Training) -> None:
        self._folder = folder
        self._every_steps = training.save_every_steps
        self._every_seconds = training.save_every_seconds
        self._steps_since = 0
        self._saved_at = time.monotonic()
        self._took_seconds: list[float] = []
        """What the last two saves took, of which the shorter counts: a disk may stall now and then."""

    def restore(self, state: TrainingState) -> bool:
        """Go on from the newest state that is whole, if there is one."""
        for path in self._newest_first():
            try:
                state.load_state_dict(read_state(path))
            except (DamagedState, OSError) as error:
                print(f"train: passes over a saved state that is damaged ({error})")
                path.unlink(missing_ok=True)
            else:
                return True
        return False

    def save_point(self, state: TrainingState) -> None:
        """Save the state if it is time to; if the stage was asked to stop, save it and stop.

        Raises:
            Stopped: The stage was asked to stop.
        """
        self._steps_since += 1
        if is_stop_requested():
            self.save(state)
            stop(f"train: stopped {state.describe_place()}; the same command goes on from there")
        if self._is_due():
            self.save(state)

    def _is_due(self) -> bool:
        if self._every_steps != "none" and self._steps_since >= self._every_steps:
            return True
        if self._every_seconds == "none":
            return False
        interval = max(self._every_seconds, min(self._took_seconds, default=0.0) / MAX_SHARE)
        return time.monotonic() - self._saved_at >= interval

    def save(self, state: TrainingState) -> None:
        """Write the state beside the one before, and remove older ones.

        A disk that cannot take it does not end a run that is going well: it may recover before the result is
        written.

        Raises:
            InputError: The loss is no longer a finite number: such a state is not worth going on from.
        """
        state.refuse_non_finite_loss()
        start = time.monotonic()
        number = state.epoch * (len(state.losses) + 1) + state.step
        try:
            write_state(self._folder / f"state-{number:012}.safetensors", state.state_dict())
            for old in self._newest_first()[2:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            print(f"train: cannot save its state: {error.strerror or error}; if stopped, it loses more work")
        self._steps_since, self._saved_at = 0, time.monotonic()
        self._took_seconds = [*self._took_seconds[-1:], self._saved_at - start]

    def note_result(self, folders: Sequence[Path]) -> None:
        """Remember what was published. The state stays until DVC has that: its disk may be full just then."""
        if "DVC_STAGE" not in os.environ or not self._newest_first():
            _clear(self._folder)  # nobody takes the result from here, or nothing was worth saving
            return
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        write_text(self._folder / _RESULT, json.dumps([hash_for_dvc(path) for path in files]))

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob(_STATES), reverse=True)


@contextmanager
def open_saved_state(key: Mapping[str, object], training: Training) -> Iterator[SavedState]:
    """Yield the saved state of the run that a key describes; nobody else has it in the block.

    Args:
        key: All that the result depends on, as plain values.
        training: The section, which says when to save.

    Raises:
        InputError: Another process is training just this, or there is no DVC repository.
    """
    dvc_folder = find_dvc_folder()
    if dvc_folder is None:
        raise InputError(
            f"{Path.cwd()}: is in no DVC repository, where training saves its state; run: dvc init"
        )
    parent = dvc_folder / "tmp" / "darkroom" / "resume"
    folder = parent / hash_json(key)
    try:
        with hold(folder, patience_seconds=_PATIENCE_SECONDS):
            _remove_if_done(folder, dvc_folder)
            prune(parent, dvc_folder=dvc_folder, keep=folder)
            yield SavedState(folder, training)
    except Taken as taken:
        raise InputError(
            f"train: {taken} trains just this already, by the same parameters, code and data; "
            "wait for it, or stop it"
        ) from None


def prune(
    parent: Path,
    *,
    dvc_folder: Path,
    keep: Path,
    max_age_seconds: float = MAX_AGE_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Remove states whose result DVC has, that are too old or too much; none in use, and not `keep`."""
    ages = {path: _seconds_since_use(path) for path in parent.iterdir() if path != keep and path.is_dir()}
    num_bytes = 0
    for folder in sorted(ages, key=ages.__getitem__):
        with suppress(Taken), hold(folder):
            _remove_if_done(folder, dvc_folder)
            num_bytes += sum(path.stat().st_size for path in folder.iterdir())
            if ages[folder] > max_age_seconds or num_bytes > max_bytes:
                _clear(folder)


def _remove_if_done(folder: Path, dvc_folder: Path) -> None:
    """Remove a state that led to a result, once DVC has all of that; also one that was left half written."""
    for leftover in folder.glob("*.partial"):
        leftover.unlink(missing_ok=True)
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
    """Remove the states; the result's note goes last, for it says that they are done with."""
    for path in (*folder.glob(_STATES), folder / _RESULT):
        path.unlink(missing_ok=True)


def _seconds_since_use(folder: Path) -> float:
    times = [0.0]
    for path in (*folder.glob(_STATES), *folder.glob(_RESULT)):
        with suppress(FileNotFoundError):  # its own run, or another that prunes, removed it just now
            times.append(path.stat().st_mtime)
    return time.time() - max(times)
