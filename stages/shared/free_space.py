"""Whether what a stage is about to write fits on the disk."""

import shutil
from pathlib import Path

from stages.shared.errors import InputError

_MIB = 2**20


def refuse_full_disk(folder: Path, *, num_bytes: int, kept_bytes: int = 0, linked_bytes: int = 0) -> None:
    """Refuse to begin what has no room: if it ends while DVC commits, dvc.lock names what the cache lacks.

    Args:
        folder: The output, there or not.
        num_bytes: What the stage will write to it. Needed twice, for DVC's cache may keep a copy.
        kept_bytes: What it keeps beside it from run to run.
        linked_bytes: What of the output is on the disk already, and only gets a further name.

    Raises:
        InputError: The disk has less room than that.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    needed, free = 2 * num_bytes + kept_bytes - min(linked_bytes, num_bytes), shutil.disk_usage(there).free
    if free < needed:
        raise InputError(
            f"{folder}: needs {needed / _MIB:,.0f} MiB of disk, and {free / _MIB:,.0f} MiB are free; make "
            "room, as by: dvc gc --workspace"
        )
