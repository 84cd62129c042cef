"""Who is at work in the repository: processes of dvc that are seen, and reasons why there may be more.

That no process is seen proves nothing where some cannot be: those of other users, of other machines that
mount the same folder, and those outside a container. Only what is shown dead may be cleaned up after.
"""

import fcntl
import os
import pwd
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_STAGES = ("stages.ingest", "stages.prepare_dataset", "stages.train", "stages.evaluate", "stages.export")
_MAY_BE_DVC = ("dvc", "python")
"""How names of processes begin that may be dvc, where their command lines are hidden."""

_NETWORK = re.compile(
    r"(nfs|cifs|smb|afpfs|webdav|davfs|ceph|gluster|lustre|beegfs|gpfs|panfs|wekafs|afs$|ocfs|gfs2|orangefs|pvfs"
    r"|9p|virtiofs|vboxsf|prl_fs|vmhgfs|fuse\.(?!fuse-overlayfs))",
    re.IGNORECASE,
)
"""File systems that other machines may be at work in as well."""

_OUTSIDE_CONTAINERS = "pid:[4026531836]"
"""Linux's first namespace of processes, from which all others are seen (PROC_PID_INIT_INO)."""


def find_dvc_processes(root: Path) -> list[int]:
    """Return the processes of dvc, and of the stages it runs, whose working folder is root or below it."""
    return sorted(process.pid for process in psutil.process_iter() if _is_dvc_in(root, process))


def is_alive(process: int) -> bool:
    """Return whether a process of that number exists and has not ended, or cannot be looked at."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def describe_unseen(dvc_folder: Path) -> Iterator[str]:
    """Yield why somebody may be at work in a repository though no process of dvc is seen there."""
    root, scratch = dvc_folder.parent, dvc_folder / "tmp"
    yield from _describe_held_locks(scratch)
    yield from _describe_owners(scratch)
    is_shared = _is_writable_by_others(scratch)
    for process in psutil.process_iter():
        if _is_dvc_in(root, process) is None and (is_shared or _owner_of(process) in (None, 0, os.geteuid())):
            yield f"process {process.pid} of {_name_of(_owner_of(process))} may be dvc at work here"
    if is_shared and 1 not in psutil.pids():
        yield "processes of other users are hidden on this machine"
    yield from _describe_mount(root.resolve())


def _is_dvc_in(root: Path, process: psutil.Process) -> bool | None:
    """Return whether a process is dvc, or a stage, at work below a folder; None if that cannot be seen."""
    if process.pid == os.getpid():
        return False
    try:
        try:
            is_named = _is_dvc(process.cmdline())
        except (psutil.AccessDenied, OSError):
            is_named = process.name().lower().startswith(_MAY_BE_DVC)
            return None if is_named else False
        return is_named and _is_below(process, root)
    except psutil.NoSuchProcess:  # it ended just now; a zombie, which does nothing any more, is one as well
        return False
    except (psutil.Error, OSError):
        return None


def _is_dvc(arguments: Sequence[str]) -> bool:
    """Return whether this is how dvc or a stage is started: as a program, a script, a module or code."""
    if not arguments:
        return False
    rest = iter(arguments[1:])
    names = [arguments[0]]
    for argument in rest:
        if argument == "-c":
            return bool(re.search(r"\bdvc\b", next(rest, "")))
        if argument in ("-X", "-W"):
            next(rest, None)
        elif argument == "-m" or not argument.startswith("-"):
            names.append(next(rest, "") if argument == "-m" else argument)
            break
    return any(Path(name).name in ("dvc", "dvc.exe") or name in _STAGES for name in names)


def _is_below(process: psutil.Process, root: Path) -> bool:
    """Return whether a process works in a folder or below, also if it has another name in its container."""
    if Path(process.cwd()).is_relative_to(root.resolve()):
        return True
    folder, wanted = Path(f"/proc/{process.pid}/cwd"), root.stat()
    with suppress(FileNotFoundError):  # no Linux, or the folder is gone
        status = folder.stat()
        while not os.path.samestat(status, wanted):
            folder /= ".."
            before, status = status, folder.stat()
            if os.path.samestat(before, status):
                return False
        return True
    return False


def _describe_held_locks(scratch: Path) -> Iterator[str]:
    """Yield the locks that somebody holds: the kernel knows, whatever container or user it is."""
    for path in (scratch / "lock", scratch / "rwlock.lock", *sorted(scratch.glob("darkroom/*/*.lock"))):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue
        except BlockingIOError:
            yield f"{path}: is locked by a running process"
        except PermissionError:
            yield f"{path}: belongs to another user, and may be locked"
        except OSError:  # a file system without locks
            continue


def _describe_owners(scratch: Path) -> Iterator[str]:
    """Yield whose else's files are there."""
    if os.geteuid() == 0:
        return  # sees the processes of all
    owners = set()
    for path in (scratch, *scratch.glob("*"), *scratch.glob("exps/*"), *scratch.glob("exps/*/*")):
        with suppress(FileNotFoundError):
            owners.add(path.lstat().st_uid)
    for owner in sorted(owners - {os.geteuid()}):
        yield f"{scratch}: holds files of {_name_of(owner)}, who may be at work"


def _describe_mount(root: Path) -> Iterator[str]:
    """Yield that a folder is mounted from where processes cannot be seen."""
    mounts = [part for part in psutil.disk_partitions(all=True) if root.is_relative_to(part.mountpoint)]
    mount = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    if mount is None or mount.mountpoint == "/":
        return
    if _NETWORK.match(mount.fstype):
        yield f"{mount.mountpoint}: is a mount ({mount.fstype}) that other machines may be at work in"
        return
    with suppress(OSError):  # no Linux
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
        if namespace != _OUTSIDE_CONTAINERS and mount.fstype != "tmpfs":
            yield f"{mount.mountpoint}: is mounted into this container; processes outside it are not seen"


def _is_writable_by_others(folder: Path) -> bool:
    """Return whether others than this user and root could run dvc there, which writes to that folder."""
    try:
        status = folder.stat()
    except OSError:
        return True
    return status.st_uid != os.geteuid() or bool(status.st_mode & 0o022)


def _owner_of(process: psutil.Process) -> int | None:
    try:
        return int(process.uids().effective)
    except (psutil.Error, OSError):
        return None


def _name_of(user: int | None) -> str:
    try:
        return pwd.getpwuid(user).pw_name if user is not None else "an unknown user"
    except KeyError:
        return f"user {user}"
