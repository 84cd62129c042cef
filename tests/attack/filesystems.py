"""File systems without locks, syncing, links or mapping, DVC configured otherwise, and damage in its cache.

A shared library, preloaded, has calls fail below the project as a network mount's do. What the stages make
must be the same bytes all the same, with a line that says what is missing.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stages.shared.paths import hash_for_dvc
from tests.faults.small_project import make_small_project
from tests.faults.tally import Tally
from tests.pipeline.project import Project

_MAX_SECONDS = 60.0
"""For a stage that takes about three: SQLite alone would wait for a lock as long."""

_NO_LOCKS = {"flock": errno.ENOLCK, "fcntl": errno.ENOLCK}
_STAGES = ("ingest", "prepare_dataset", "train", "evaluate", "export")
_CASES: tuple[tuple[dict[str, int], tuple[str, ...], str], ...] = (
    ({"flock": errno.ENOLCK}, ("ingest", "train"), "cannot lock"),
    ({"flock": errno.ENOSYS, "fcntl": errno.ENOSYS}, ("ingest", "train"), "cannot lock"),
    ({"flock": errno.EINVAL, "fcntl": errno.EINVAL}, ("ingest", "train"), "cannot lock"),
    ({"fcntl": errno.ENOLCK}, ("ingest",), ""),
    ({"fcntl": errno.EOPNOTSUPP}, ("ingest",), ""),
    ({"fsyncdir": errno.EINVAL}, ("prepare_dataset",), "does not sync folders"),
    ({"fsyncdir": errno.EOPNOTSUPP}, ("prepare_dataset",), "does not sync folders"),
    ({"link": errno.EPERM}, ("ingest",), ""),
    ({**_NO_LOCKS, "fsyncdir": errno.EINVAL, "link": errno.EOPNOTSUPP}, _STAGES, ""),
)
"""Which calls fail how, the stages that use them, and what these say of it."""

_CONFIGS = (
    b"[core\n",
    b"\xff\xfe\0",
    b"[core]\nhardlink_lock = maybe\n",
    b"[cache]\ndir = a\ndir = b\n",
    b"[cache]\nsize = 3\n",
)
_DAMAGED = ("model/best.safetensors", "model/history.json", "prepared/rows.npy", "images/manifest.json")


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield what came of each kind of file system, configuration and damage."""
    project = make_small_project(scratch / "project", num_epochs=1, num_each=40, last_stage="evaluate export")
    library = _build_library(scratch)
    if library is None:
        yield Tally("poor file systems", note="left out, for there is no C compiler")
    else:
        yield _run_on_poor_disks(project, library)
        yield _lock_dvc_without_locks(project, library, scratch)
    yield _configure(project, scratch)
    yield _damage_cache(project, random.Random(seed))


def _build_library(scratch: Path) -> Path | None:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    library = scratch / "poor_disk.so"
    source = Path(__file__).with_name("poor_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def _run_on_poor_disks(project: Project, library: Path) -> Tally:
    """Run stages by themselves: DVC would skip them."""
    tally = Tally("poor file systems")
    expected = project.hashes()
    for calls, stages, warning in _CASES:
        for stage in stages:
            done, seconds = _run(project, ["-m", f"stages.{stage}"], library, calls)
            wrong = [name for name, sha256 in project.hashes().items() if expected.get(name) != sha256]
            is_right = done.returncode == 0 and warning in done.stdout and not wrong
            tally.count(
                is_right and seconds < _MAX_SECONDS,
                f"{stage}, {calls}: status {done.returncode}, {seconds:.0f} s, {wrong}: {done.stdout[-300:]}",
            )
    for stage in ("train", "evaluate"):
        done, _ = _run(project, ["-m", f"stages.{stage}"], library, {"mmap": errno.ENODEV})
        is_told = "cannot map files into memory" in done.stdout and "Traceback" not in done.stdout
        tally.count(done.returncode == 1 and is_told, f"{stage}, no mmap: {done.stdout[-300:]}")
    return tally


def _lock_dvc_without_locks(project: Project, library: Path, scratch: Path) -> Tally:
    """DVC says that another dvc is at work; the doctor names the cause and ends it."""
    tally = Tally("dvc without locks")
    copy = Project(scratch / "without locks")
    shutil.copytree(project.root, copy.root, symlinks=True)
    for arguments, status, told in (
        (["-m", "dvc", "repro"], 255, "Unable to acquire lock"),
        (["-m", "tools.doctor", "--inputs"], 1, "has no locks"),
        (["-m", "tools.doctor", "--fix"], 0, "everything is fixed"),
        (["-m", "dvc", "repro"], 0, "up to date"),
        (["-m", "tools.doctor"], 0, "nothing stands in the way"),
    ):
        done, _ = _run(copy, arguments, library, _NO_LOCKS)
        is_right = done.returncode == status and told in done.stdout
        tally.count(is_right, f"{arguments}: status {done.returncode}: {done.stdout[-300:]}")
    return tally


def _configure(project: Project, scratch: Path) -> Tally:
    """The cache is where DVC is told, by any file; a damaged file is named in one line."""
    tally = Tally("dvc's configuration")
    folders = {level: scratch / level for level in ("system", "global")}
    for folder in folders.values():
        folder.mkdir()
    variables = " ".join(f"DVC_{level.upper()}_CONFIG_DIR='{folder}'" for level, folder in folders.items())
    repository = project.root / ".dvc/config"
    before = repository.read_bytes()
    files = [
        *(folder / "config" for folder in folders.values()),
        repository,
        project.root / ".dvc/config.local",
    ]
    for path in files:
        cache = scratch / "cache"
        (project.root / ".dvc/cache").rename(cache)
        path.write_text(f"[cache]\n    dir = {cache}\n")
        found = project.run(f"{variables} python -m tools.doctor --fix")
        is_one = not (project.root / ".dvc/cache").exists()
        tally.count(is_one and "nothing stands in the way" in found, f"{path}: {found}")
        cache.rename(project.root / ".dvc/cache")
        for config in _CONFIGS:
            path.write_bytes(config)
            told = project.run(f"{variables} python -m tools.doctor", status=1).splitlines()
            tally.count(len(told) == 1 and told[0].startswith(f"{path}: "), f"{path}: {config!r}: {told}")
        path.unlink()
        repository.write_bytes(before)
    return tally


def _damage_cache(project: Project, generator: random.Random) -> Tally:
    """A bit flips in the cache, and DVC hands it out: the one advice there is gives back what was there."""
    tally = Tally("damage in dvc's cache")
    expected = project.hashes()
    for name in _DAMAGED:
        path = project.root / "data" / name
        md5 = hash_for_dvc(path)
        cached = project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        data = bytearray(cached.read_bytes())
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        cached.chmod(0o644)
        cached.write_bytes(data)
        cached.chmod(0o444)
        path.unlink()
        project.run("dvc checkout -q; python -m tools.doctor --fix; dvc repro")
        verified = project.run("python -m tools.verify || true")
        is_right = project.hashes() == expected and "agree with dvc.lock" in verified
        tally.count(is_right, f"{name}: {verified[-300:]}")
    return tally


def _run(
    project: Project, arguments: list[str], library: Path, calls: dict[str, int]
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run Python on a file system where some calls fail; return what came of it, and the seconds it took."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "LD_PRELOAD": str(library),
        "POOR_DISK": str(project.root),
        "POOR_CALLS": " ".join(f"{call}={number}" for call, number in calls.items()),
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=5 * _MAX_SECONDS,
        check=False,
    )
    return done, time.monotonic() - start
