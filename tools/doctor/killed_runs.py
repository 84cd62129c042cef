"""What a dvc that was killed leaves behind: locks, parameters, queue tasks, folders.

All of it looks the same while dvc is running: check only while `find_dvc_processes` finds none, and fix only
if `describe_unseen` has nothing to say either.
"""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.shared.errors import InputError, printable
from stages.shared.inputs import leaves
from stages.shared.paths import read_dvc_config
from tools.doctor.obstacle import Obstacle
from tools.doctor.processes import is_alive
from tools.dvc_lock import parse_yaml

_PARAMS = Path("params.yaml")
_NUM_KEYS_NAMED = 3
_QUEUE_TASK = "dvc.repo.experiments.queue.tasks.run_exp"


class _Holder(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    pid: int
    cmd: str


class _RwLock(BaseModel):
    """What DVC accepts in its rwlock; anything else stops every dvc command."""

    model_config = ConfigDict(extra="forbid", strict=True)

    read: dict[str, list[_Holder]] = {}
    write: dict[str, _Holder] = {}


def check_killed_runs(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield what killed runs left. Locks come first: with them in place dvc cannot help to fix the rest."""
    yield from _check_rwlock(dvc_folder)
    yield from _check_link_locks(dvc_folder)
    yield from _check_reference_locks()
    yield from check_params_left(dvc_folder)
    yield from _check_detached_head()
    yield from _check_dead_tasks(dvc_folder)
    yield from _check_experiment_folders(dvc_folder)


def check_params_left(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield a params.yaml that looks unchanged to git and is not.

    `dvc exp run` takes its parameters from a commit of its own (refs/exps/exec/EXEC_MERGE), writes them to
    params.yaml and stages them; it puts the old ones back when it ends.
    """
    committed = ask_git("rev-parse", "--verify", "--quiet", f"HEAD:./{_PARAMS}")
    if committed is None or not _PARAMS.is_file():
        return
    found = ask_git("hash-object", str(_PARAMS))
    if found != committed and _looks_clean(found):
        backup = dvc_folder / "tmp" / "darkroom" / "params.left.yaml"
        yield Obstacle(
            f"{_PARAMS}: differs from the committed one, though git diff shows nothing: a killed experiment "
            f"left {_describe_difference()}; restore the committed one (--fix saves this one as {backup})",
            partial(_restore_params, backup),
        )


def _check_rwlock(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield the records of who reads and writes what that DVC cannot read."""
    for path in (dvc_folder / "tmp" / "rwlock", dvc_folder / "tmp" / "exps" / "rwlock"):
        try:
            if path.exists():
                _RwLock.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            yield Obstacle(
                f"{path}: is damaged, as after a full disk or a power cut; no dvc command runs; delete it",
                path.unlink,
            )


def _check_link_locks(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield DVC's locks where it is configured to lock by hard links: these outlive their process."""
    try:
        uses_links = read_dvc_config(dvc_folder)["core"].get("hardlink_lock", False)
    except InputError:
        return  # named among the prerequisites
    for path in (dvc_folder / "tmp" / "lock", dvc_folder / "tmp" / "rwlock.lock"):
        if uses_links and path.exists():
            yield Obstacle(
                f"{path}: is the lock of a killed dvc; no dvc command runs while it exists; delete it",
                path.unlink,
            )


def _check_reference_locks() -> Iterator[Obstacle]:
    """Yield locks on Git's references to experiments: only dvc takes them, so now nobody holds one."""
    git_folder = ask_git("rev-parse", "--git-common-dir")
    if git_folder is None:
        return
    for path in sorted(Path(git_folder, "refs", "exps").rglob("*.lock")):
        yield Obstacle(
            f"{path}: is the lock of a killed dvc; no experiment starts while it exists; delete it",
            path.unlink,
        )


def _looks_clean(found: str | None) -> bool:
    """Return whether a changed file looks unchanged: git is told to ignore it, or an experiment staged it."""
    if ask_git("diff", "--quiet", "--", str(_PARAMS)) is None:
        return False
    is_staged = ask_git("rev-parse", f":./{_PARAMS}") == found
    of_experiment = ask_git("rev-parse", "--verify", "--quiet", f"refs/exps/exec/EXEC_MERGE:./{_PARAMS}")
    return not is_staged or of_experiment == found


def _describe_difference() -> str:
    """Name some parameters that differ from the committed ones."""
    try:
        found = parse_yaml(_PARAMS.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return "it damaged"
    committed = parse_yaml(ask_git("show", f"HEAD:./{_PARAMS}") or "")
    before, now = (dict(leaves("", document)) for document in (committed, found))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    named = [
        f"{key.lstrip('.')} at {now.get(key)} instead of {before.get(key)}"
        for key in changed[:_NUM_KEYS_NAMED]
    ]
    if len(changed) > _NUM_KEYS_NAMED:
        named.append(f"{len(changed) - _NUM_KEYS_NAMED} more")
    return ", ".join(named) or "it with other spaces and comments"


def _restore_params(backup: Path) -> None:
    backup.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(_PARAMS, backup)  # git writes a missing file, even one it was told to ignore
    ask_git("update-index", "--no-assume-unchanged", "--no-skip-worktree", str(_PARAMS))
    if ask_git("restore", "--source=HEAD", "--staged", "--worktree", "--", str(_PARAMS)) is None:
        shutil.copy(backup, _PARAMS)
        raise InputError(f"{_PARAMS}: git could not restore it; run: git checkout HEAD -- {_PARAMS}")


def _check_detached_head() -> Iterator[Obstacle]:
    """Yield a HEAD that `dvc exp run` detached for an experiment and did not attach again."""
    head = ask_git("rev-parse", "HEAD")
    if head is None or ask_git("symbolic-ref", "--quiet", "HEAD") is not None:
        return
    if head != ask_git("rev-parse", "--verify", "--quiet", "refs/exps/exec/EXEC_HEAD"):
        return
    found = ask_git("for-each-ref", "--format=%(refname)", f"--points-at={head}", "refs/heads") or ""
    text = "HEAD: is detached: a killed experiment took it off its branch; go back with: git switch"
    branches = found.split()
    if len(branches) == 1:
        yield Obstacle(f"{text} {branches[0].removeprefix('refs/heads/')}", partial(_attach, branches[0]))
    else:
        yield Obstacle(f"{text} BRANCH")


def _attach(branch: str) -> None:
    if ask_git("symbolic-ref", "HEAD", branch) is None:
        raise InputError(f"HEAD: git could not attach it to {branch}")


def _check_dead_tasks(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield the tasks of `dvc queue` that are marked running though their worker is gone.

    A message in `processed` was taken by a worker; it has a result once the worker is done with it.
    """
    queue = dvc_folder / "tmp" / "exps" / "celery"
    workers = [_read_json(path).get("pid") for path in queue.glob("dvc-exp-worker-*.json")]
    if any(isinstance(worker, int) and is_alive(worker) for worker in workers):
        return
    for path in sorted((queue / "broker" / "processed").glob("*.celery.msg")):
        message = _read_json(path)
        headers = message.get("headers", {})
        has_result = (queue / "result" / f"celery-task-meta-{headers.get('id')}").exists()
        if headers.get("task") != _QUEUE_TASK or has_result:
            continue
        try:
            entry = json.loads(base64.b64decode(message["body"]))[0][0]
            revision = str(entry["stash_rev"])
            name = entry["name"] or revision[:7]
        except (ValueError, KeyError, IndexError, TypeError):
            continue
        text = f"queue: {name}: is marked running, but its worker is gone"
        process = _read_json(queue.parent / "run" / revision / f"{revision}.json").get("pid")
        if isinstance(process, int) and is_alive(process):  # of another program, or another user's
            yield Obstacle(
                f"{text}; it is left as it is, for dvc queue kill {name} would kill process {process}, "
                "which has its number now"
            )
            continue
        yield Obstacle(f"{text}; mark it failed with: dvc queue kill {name}", partial(_mark_failed, name))


def _mark_failed(name: str) -> None:
    """Let DVC mark a task as failed, which `dvc queue kill` does with one that has no process."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "kill", "--force", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(f"queue: {name}: dvc queue kill failed: {printable(reason)}")


def _check_experiment_folders(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield the copies of the repository that `dvc exp run --temp` and queue workers ran in."""
    experiments = dvc_folder / "tmp" / "exps"
    for folder in sorted((*experiments.glob("tmp*"), *experiments.glob("standalone/tmp*"))):
        if folder.is_dir() and (folder / ".git").exists():
            num_bytes = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            yield Obstacle(
                f"{folder}: is the folder of a killed experiment, {num_bytes / 2**20:,.0f} MiB; delete it "
                "(its saved training state is elsewhere: the same experiment will resume from it)",
                partial(shutil.rmtree, folder),
            )


def ask_git(*arguments: str) -> str | None:
    """Return what a git command prints, without the last newline; None if it fails or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n") if done.returncode == 0 else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
