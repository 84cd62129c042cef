"""Tasks of `dvc queue` that are marked running though nobody runs them."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from stages.doctor.finding import Finding
from stages.doctor.processes import is_alive
from stages.shared.errors import InputError
from stages.shared.text import printable

_TASK = "dvc.repo.experiments.queue.tasks.run_exp"


def check_dead_tasks(dvc_folder: Path) -> Iterator[Finding]:
    """Yield the running tasks whose worker is gone.

    A message in `processed` was taken by a worker; it has a result once that is done with it.
    """
    queue = dvc_folder / "tmp" / "exps" / "celery"
    workers = [_read(path).get("pid") for path in queue.glob("dvc-exp-worker-*.json")]
    if any(isinstance(worker, int) and is_alive(worker) for worker in workers):
        return
    for path in sorted((queue / "broker" / "processed").glob("*.celery.msg")):
        message = _read(path)
        headers = message.get("headers", {})
        if headers.get("task") != _TASK or (queue / f"result/celery-task-meta-{headers.get('id')}").exists():
            continue
        try:
            entry = json.loads(base64.b64decode(message["body"]))[0][0]
            name = entry["name"] or entry["stash_rev"][:7]
        except (ValueError, KeyError, IndexError, TypeError):
            continue
        yield Finding(
            f"queue: {name}: is marked running, but its worker is gone; mark it failed by: "
            f"dvc queue kill {name}",
            partial(_kill, name),
        )


def _kill(name: str) -> None:
    """Have DVC mark a task as failed, which it does with one that has no process."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "kill", "--force", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(f"queue: {name}: dvc queue kill failed: {printable(reason)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
