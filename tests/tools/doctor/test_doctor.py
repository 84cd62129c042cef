"""`python -m tools.doctor` finds what killed runs leave, made for real with DVC, and fixes it."""

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.shared.paths import hash_for_dvc
from tests.faults.left import find_processes, find_stages
from tests.faults.small_project import make_small_project
from tests.pipeline.project import Project

pytestmark = pytest.mark.pipeline

LONG = ("num_epochs: 1", "num_epochs: 5000")
WELL = "doctor: nothing stands in the way"


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_small_project(tmp_path_factory.mktemp("doctor") / "project", num_epochs=1)
    project.set("num_epochs: 1", "num_epochs: 5000")
    project.run("git commit -qam long")
    return project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A small project in which train ran, committed with parameters that would train for minutes."""
    shutil.copytree(reproduced.root, tmp_path / "copy", symlinks=True)
    return Project(tmp_path / "copy")


def start_and_kill(project: Project, command: str) -> None:
    """Start something that trains, and kill all of it once it does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    started = subprocess.Popen(
        command.split(),
        cwd=project.root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not find_stages(project):
        assert time.monotonic() < deadline, "it never trained"
        time.sleep(0.05)
    for process, _ in find_processes(project):  # dvc, its queue workers and stages
        if process.pid != os.getpid():
            os.kill(process.pid, signal.SIGKILL)
    started.wait()


def examine(project: Project, *expected: str) -> None:
    """Check that the doctor names just this, fixes it, and then has nothing to say."""
    found = project.run("python -m tools.doctor", status=1).splitlines()
    assert len(found) == len(expected)
    for line, part in zip(found, expected, strict=True):
        assert part in line
    fixed = project.run("python -m tools.doctor --fix").splitlines()
    assert fixed == [*(f"fixed: {line}" for line in found), "doctor: everything is fixed"]
    assert project.run("python -m tools.doctor").splitlines() == [WELL]


def test_a_healthy_project_is_left_alone(project: Project) -> None:
    assert project.run("python -m tools.doctor --fix").splitlines() == [WELL]
    assert project.run("git status --porcelain") == ""


def test_parameters_that_a_killed_experiment_left(project: Project) -> None:
    """Git diff shows nothing of them; the committed ones come back, and the branch."""
    start_and_kill(project, "dvc exp run -S optimizer.lr=0.001")
    assert project.run("git diff") == ""
    examine(project, "killed experiment left optimizer.lr at 0.001 instead of 0.004", "HEAD: is detached")
    assert project.run("git status --porcelain") == ""
    assert project.run("git branch --show-current") != "\n"
    assert "lr: 0.001" in (project.root / ".dvc/tmp/darkroom/params.left.yaml").read_text()


def test_parameters_that_the_user_staged_are_no_obstacle(project: Project) -> None:
    project.set("lr: 0.004", "lr: 0.002")
    project.run("git add params.yaml")
    assert project.run("python -m tools.doctor").splitlines() == [WELL]


def test_parameters_that_git_was_told_to_overlook(project: Project) -> None:
    project.run("git update-index --assume-unchanged params.yaml")
    project.set("lr: 0.004", "lr: 0.002")
    assert project.run("git status --porcelain") == ""
    examine(project, "killed experiment left optimizer.lr at 0.002 instead of 0.004")


def test_a_folder_that_a_killed_experiment_left(project: Project) -> None:
    start_and_kill(project, "dvc exp run --temp -S optimizer.lr=0.001")
    examine(project, "is the folder of a killed experiment")
    assert not list((project.root / ".dvc/tmp/exps/standalone").glob("tmp*"))


@pytest.mark.slow
def test_a_task_whose_worker_is_gone(project: Project) -> None:
    """It is marked failed, so that the queue goes on, and its folder is removed."""
    project.run("dvc exp run --queue -S optimizer.lr=0.001")
    start_and_kill(project, "dvc queue start")
    assert "Running" in project.run("dvc queue status")
    examine(project, "is marked running, but its worker is gone", "is the folder of a killed experiment")
    status = project.run("dvc queue status")
    assert "Failed" in status
    assert "Running" not in status


def test_a_lock_on_a_reference(project: Project) -> None:
    """With what a killed dvc leaves of writing one, no experiment starts; fixed, one may be queued."""
    project.run("dvc exp run --queue --set-param optimizer.lr=0.002")
    lock = project.root / ".git/refs/exps/celery/stash.lock"
    lock.touch()
    failed = project.run("dvc exp run --queue --set-param optimizer.lr=0.001", status=255)
    assert "stash.lock" in failed
    examine(project, ".git/refs/exps/celery/stash.lock: is the lock of a killed dvc")
    project.run("dvc exp run --queue --set-param optimizer.lr=0.001")


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"read": {"a": {}}}'])
def test_a_garbage_rwlock(project: Project, garbage: str) -> None:
    """With it, dvc refuses every command."""
    path = project.root / ".dvc/tmp/rwlock"
    path.write_text(garbage)
    project.run("dvc repro train", status=None)
    examine(project, "tmp/rwlock: is damaged")
    project.run("dvc repro --dry")


def test_missing_and_damaged_cache_objects(project: Project) -> None:
    """Files and lists of folders are put back from the working folder."""
    objects = sorted(path for path in (project.root / ".dvc/cache/files").rglob("*") if path.is_file())
    lists = [path for path in objects if path.suffix == ".dir"]
    files = [path for path in objects if path.suffix != ".dir"]
    before = {path: path.read_bytes() for path in (lists[0], files[0], files[1])}
    lists[0].unlink()
    files[0].unlink()
    files[1].chmod(0o644)
    files[1].write_bytes(b"other")
    found = project.run("python -m tools.doctor", status=1)
    assert found.count("is missing from the cache") >= 1
    project.run("python -m tools.doctor --fix")
    assert project.run("python -m tools.doctor").splitlines() == [WELL]
    assert {path: path.read_bytes() for path in before} == before


def test_a_clone_that_has_not_run_yet(project: Project) -> None:
    """Outputs that were never here are no obstacles. What experiments lack is told beside one."""
    (project.root / "images").mkdir()
    (project.root / "images/1.png").touch()
    project.set("source: data/small.zip", "source: images")
    shutil.rmtree(project.root / ".dvc/cache")
    for name in ("images", "counts", "prepared", "audit", "model", "dvclive", "metrics", "report"):
        shutil.rmtree(project.root / "data" / name, ignore_errors=True)
    (project.root / ".dvc/tmp/rwlock").write_text("garbage")
    *_, obstacle, note = project.run("python -m tools.doctor", status=1).splitlines()
    assert "rwlock: is damaged" in obstacle
    assert note.startswith("dataset.source: images: is in neither Git nor DVC")


def test_a_new_clone_is_healthy(project: Project) -> None:
    """`dvc repro` makes what is missing, so nothing stands in its way."""
    shutil.rmtree(project.root / ".dvc/cache")
    for name in project.run("git ls-files --others --ignored --exclude-standard data").splitlines():
        (project.root / name).unlink()
    project.run("find data -type d -empty -delete")
    first, last = project.run("python -m tools.doctor").splitlines()
    assert first.startswith("doctor: nothing was made here yet; make it with: dvc repro")
    assert last == WELL


def test_what_is_lost_is_named(project: Project) -> None:
    """With the working file gone too, a damaged object is deleted, and the line says how to re-create it."""
    lock = json.loads((project.root / "data/model/history.json").read_bytes())
    assert lock["epochs"]
    shutil.rmtree(project.root / "data/model")
    for path in (project.root / ".dvc/cache/files").rglob("*"):
        if path.is_file() and path.suffix != ".dir" and b'"best_epoch"' in path.read_bytes()[:300]:
            path.chmod(0o644)
            path.write_bytes(b"other")
    assert "make it with: dvc repro train" in project.run("python -m tools.doctor --fix", status=1)


def test_what_may_be_running_is_left_alone(project: Project) -> None:
    """While somebody unseen holds a lock, leftovers are named and stay, unless the user knows better."""
    folder = project.root / ".dvc/tmp/exps/standalone/tmpabc"
    (folder / ".git").mkdir(parents=True)
    lock = project.root / ".dvc/tmp/darkroom/resume/a.lock"
    lock.touch()
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = project.run("python -m tools.doctor --fix", status=1)
        assert "a.lock: is locked by a running process" in told
        assert "is the folder of a killed experiment" in told
        assert folder.is_dir()
        assert "everything is fixed" in project.run("python -m tools.doctor --fix --alone")
    assert not folder.exists()


def test_a_cache_elsewhere(project: Project, tmp_path: Path) -> None:
    """The cache is where DVC has it, by the user's own configuration too, and objects get DVC's modes."""
    cache = tmp_path / "cache"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config").write_text(f"[cache]\n    dir = {cache}\n    shared = group\n")
    (project.root / ".dvc/cache").rename(cache)
    with_config = f"DVC_GLOBAL_CONFIG_DIR='{tmp_path}/config' python -m tools.doctor"
    assert project.run(with_config).splitlines() == [WELL]
    metrics = project.root / "data/metrics/train.json"
    md5 = hash_for_dvc(metrics)
    shutil.rmtree(cache / "files/md5" / md5[:2])
    assert "fixed: data/metrics/train.json: is missing from the cache" in project.run(f"{with_config} --fix")
    restored = cache / "files/md5" / md5[:2] / md5[2:]
    assert restored.read_bytes() == metrics.read_bytes()
    assert stat.S_IMODE(restored.stat().st_mode) == 0o444
    assert stat.S_IMODE(restored.parent.stat().st_mode) == 0o2775
    assert not (project.root / ".dvc/cache").exists()


def test_damage_in_the_cache_ends_with_the_advice(project: Project) -> None:
    """A bit flips in the cache, `dvc checkout` brings it back: what the refusal says to do ends it."""
    project.set("num_epochs: 5000", "num_epochs: 1")
    path = project.root / "data/model/best.safetensors"
    before = project.hashes()
    md5 = hash_for_dvc(path)
    flip(project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:])
    path.unlink()
    project.run("dvc checkout -q data/model")
    assert "up to date" in project.run("dvc repro train")
    told = project.run("python -m tools.predict data/small.zip", status=1)
    assert told.startswith("data/model/best.safetensors: is ")
    advice = told.partition("mend it with: ")[2]
    assert advice.strip() == "python -m tools.doctor --fix; dvc repro train"
    project.run(advice)
    assert project.hashes() == before


def test_damage_that_dvc_overlooks(project: Project) -> None:
    """A bit flips in an output, and all that DVC looks at is as it was: the doctor has it look again."""
    project.set("num_epochs: 5000", "num_epochs: 1")
    project.run("dvc repro train")  # DVC reads the files of this copy, and knows them from then on
    path = project.root / "data/model/best.safetensors"
    data, status = path.read_bytes(), path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "up to date" in project.run("dvc repro train")
    examine(project, "best.safetensors: is damaged, and DVC takes it for unchanged")
    project.run("dvc repro train")
    assert path.read_bytes() == data


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and leave it as protected as it was."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0] ^ 1
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte]))
    path.chmod(mode)
