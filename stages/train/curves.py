"""Learning curves for DVC, epoch by epoch."""

import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from schemas.vision.history import EpochRecord
from stages.shared.errors import InputError

if TYPE_CHECKING:
    from dvclive.live import Live


@contextmanager
def open_curves(folder: Path) -> Iterator["Live"]:
    """Yield the DVCLive folder that `dvc plots` and `dvc exp show` read.

    Raises:
        InputError: The Git repository has no commit, without which DVCLive does not start, or DVC
            cannot write.
    """
    # Imported when there is something to write: DVC comes with it, and takes a third of a second.
    from dvclive.live import Live
    from scmrepo.exceptions import SCMError

    try:
        # DVCLive would rewrite dvc.yaml while the stage runs. The pipeline saves the experiment itself.
        live = Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
    except SCMError as error:
        raise InputError(f"train: git: {error}; make a first commit: git add -A && git commit") from None
    except sqlite3.Error as error:  # of DVC's notes, on a disk that is full or read-only
        raise InputError(f"train: DVC cannot write its notes ({error}); is the disk full?") from None
    with live:
        yield live


def refuse_missing_commit() -> None:
    """Find out before hours of training whether DVCLive can start here.

    Where git knows a commit it can. Anywhere else, also without git, DVCLive is tried.

    Raises:
        InputError: It cannot.
    """
    if _has_commit():
        return
    with TemporaryDirectory() as folder, open_curves(Path(folder)):
        pass


def _has_commit() -> bool:
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, check=False
        )
    except OSError:
        return False
    return asked.returncode == 0


def write_curves(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write the curves of all epochs into a folder."""
    with open_curves(folder) as live:
        for record in history:
            log_epoch(live, record)


def log_epoch(live: "Live", record: EpochRecord) -> None:
    """Add one epoch to the curves."""
    live.step = record.epoch
    live.log_metric("lr", record.lr)
    live.log_metric("train/loss", record.train_loss)
    live.log_metric("train/accuracy", record.train_accuracy)
    for name, value in record.val:
        live.log_metric(f"val/{name}", value)
    live.make_summary()
