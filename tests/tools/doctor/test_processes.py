"""Who may be at work unseen: what cannot be looked at is not taken for dead."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tools.doctor.processes import describe_unseen, find_dvc_processes, is_alive

NOBODY = 65534


class FakeProcess:
    """As psutil shows one: what is an exception is raised."""

    pid = 4_000_000

    def __init__(
        self,
        arguments: Sequence[str] | Exception,
        cwd: Path | Exception,
        *,
        name: str = "python3",
        user: int = NOBODY,
    ) -> None:
        self._arguments, self._cwd, self._name, self._user = arguments, cwd, name, user

    def cmdline(self) -> Sequence[str]:
        if isinstance(self._arguments, Exception):
            raise self._arguments
        return self._arguments

    def cwd(self) -> str:
        if isinstance(self._cwd, Exception):
            raise self._cwd
        return str(self._cwd)

    def name(self) -> str:
        return self._name

    def uids(self) -> SimpleNamespace:
        return SimpleNamespace(effective=self._user)


@pytest.fixture
def dvc_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which another user may write, on a machine of which all is seen."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp").chmod(0o777)
    monkeypatch.setattr(psutil, "pids", lambda: [1, os.getpid()])
    monkeypatch.setattr(psutil, "process_iter", list)
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [])
    return tmp_path / ".dvc"


def run_beside(monkeypatch: pytest.MonkeyPatch, process: FakeProcess) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda: [process])


@pytest.mark.parametrize(
    "arguments",
    [
        ["dvc", "repro"],
        ["/usr/bin/python3", "/home/x/.venv/bin/dvc", "exp", "run"],
        ["python", "-u", "-X", "utf8", ".venv/bin/dvc", "repro"],
        ["python", "-m", "dvc", "repro"],
        ["python", "-c", "from dvc.cli import main; main()"],
        ["python", "-m", "stages.train"],
    ],
)
def test_dvc_and_stages_are_known(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    """However they are started, below the repository; elsewhere they are none of our business."""
    root = dvc_folder.parent
    (root / "deeper").mkdir()
    run_beside(monkeypatch, FakeProcess(arguments, root / "deeper"))
    assert find_dvc_processes(root) == [FakeProcess.pid]
    run_beside(monkeypatch, FakeProcess(arguments, Path("/")))
    assert find_dvc_processes(root) == []
    assert list(describe_unseen(dvc_folder)) == []


@pytest.mark.parametrize("arguments", [[], ["vim", "dvc.yaml"], ["python", "train.py", "dvc"]])
def test_other_programs_are_not_dvc(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    run_beside(monkeypatch, FakeProcess(arguments, dvc_folder.parent))
    assert find_dvc_processes(dvc_folder.parent) == []


@pytest.mark.parametrize(
    "process",
    [
        FakeProcess(["dvc", "exp", "run"], psutil.AccessDenied()),
        FakeProcess(psutil.AccessDenied(), psutil.AccessDenied()),
        FakeProcess(["python", "-m", "dvc"], PermissionError()),
    ],
    ids=["folder", "command", "system"],
)
def test_what_is_hidden_may_be_dvc(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch, process: FakeProcess
) -> None:
    """Of another user's process the folder cannot be read: that does not make it another program."""
    run_beside(monkeypatch, process)
    assert find_dvc_processes(dvc_folder.parent) == []
    [reason] = describe_unseen(dvc_folder)
    assert reason.startswith("process 4000000 of nobody may be dvc at work here")


def test_who_cannot_write_there_is_not_at_work_there(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' dvc on a shared machine is no obstacle, unless the folder is open to them or it is root's."""
    (dvc_folder / "tmp").chmod(0o755)
    run_beside(monkeypatch, FakeProcess(["dvc"], psutil.AccessDenied()))
    assert list(describe_unseen(dvc_folder)) == []
    run_beside(monkeypatch, FakeProcess(["dvc"], psutil.AccessDenied(), user=0))
    assert len(list(describe_unseen(dvc_folder))) == 1


@pytest.mark.parametrize(
    "process",
    [
        FakeProcess(psutil.ZombieProcess(1), Path("/")),
        FakeProcess(["dvc"], psutil.NoSuchProcess(1)),
        FakeProcess(psutil.AccessDenied(), psutil.AccessDenied(), name="postgres"),
    ],
    ids=["zombie", "ended", "other"],
)
def test_what_is_dead_or_another_program_is_no_obstacle(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch, process: FakeProcess
) -> None:
    run_beside(monkeypatch, process)
    assert list(describe_unseen(dvc_folder)) == []


def test_hidden_users(dvc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Linux's mount option hidepid=2: even the first process is not listed."""
    monkeypatch.setattr(psutil, "pids", lambda: [os.getpid()])
    assert list(describe_unseen(dvc_folder)) == ["processes of other users are hidden on this machine"]


@pytest.mark.parametrize(
    ("fstype", "namespace", "told"),
    [
        ("nfs4", "pid:[4026531836]", "other machines may be at work in"),
        ("fuse.sshfs", "pid:[4026531836]", "other machines may be at work in"),
        ("ext4", "pid:[4026532201]", "mounted into this container"),
        ("ext4", "pid:[4026531836]", None),
        ("tmpfs", "pid:[4026532201]", None),
    ],
)
def test_mounts(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch, fstype: str, namespace: str, told: str | None
) -> None:
    """What others mount as well may be used by processes of theirs."""
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="overlay"),
        SimpleNamespace(mountpoint=str(dvc_folder.parent), fstype=fstype),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    monkeypatch.setattr(os, "readlink", lambda _: namespace)
    reasons = list(describe_unseen(dvc_folder))
    assert len(reasons) == (told is not None)
    assert told is None or told in reasons[0]


@pytest.mark.parametrize("name", ["lock", "darkroom/resume/a.lock"])
def test_a_lock_that_is_held_shows_work_of_anyone(dvc_folder: Path, name: str) -> None:
    """The kernel tells of locks held in other containers, by other users and, on NFS, by other machines."""
    path = dvc_folder / "tmp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert list(describe_unseen(dvc_folder)) == []
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert list(describe_unseen(dvc_folder)) == [f"{path}: is locked by a running process"]


def test_files_of_another_user(dvc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are theirs to clean up; only root sees everyone's processes."""
    (dvc_folder / "tmp/exps").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert any("who may be at work" in reason for reason in describe_unseen(dvc_folder))


def test_alive() -> None:
    """A process that ended is dead, also before its parent asked; one that is hidden is not."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(ended.pid)
    ended.wait()
    assert not is_alive(ended.pid)
    assert is_alive(os.getpid())


def test_a_hidden_process_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def hide(number: int) -> None:
        raise psutil.AccessDenied(number)

    monkeypatch.setattr(psutil, "Process", hide)
    assert is_alive(1)
