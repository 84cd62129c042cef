"""DVC's notes of who reads and writes what; damaged ones stop every command."""

import json
from collections.abc import Iterator
from pathlib import Path

from stages.doctor.finding import Finding


def check_rwlock(dvc_folder: Path) -> Iterator[Finding]:
    """Yield the notes that DVC cannot read."""
    for path in (dvc_folder / "tmp" / "rwlock", dvc_folder / "tmp" / "exps" / "rwlock"):
        if path.exists() and not _is_readable(path):
            yield Finding(
                f"{path}: is damaged, as a full disk or a power cut leaves it; dvc refuses to run; delete it",
                path.unlink,
            )


def _is_readable(path: Path) -> bool:
    try:
        notes = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(notes, dict) or not notes.keys() <= {"read", "write"}:
        return False
    read, write = notes.get("read", {}), notes.get("write", {})
    if not isinstance(read, dict) or not isinstance(write, dict):
        return False
    lists = all(isinstance(holders, list) for holders in read.values())
    return lists and all(
        isinstance(holder, dict)
        and holder.keys() == {"pid", "cmd"}
        and type(holder["pid"]) is int
        and isinstance(holder["cmd"], str)
        for holder in (*write.values(), *(holder for holders in read.values() for holder in holders))
    )
