"""Reading and writing files whole: built beside their name, synced, renamed into place last."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from schemas.shared.fields import Schema
from schemas.shared.manifest import FileRecord
from stages.shared.errors import InputError, printable

_OPENING = "{\n  "
_MIB = 2**20
_MAX_PROBLEMS = 1000
_PREFIX, _SUFFIX = ".darkroom-", ".partial"
_REPLACED = "replaced"

MEND = "mend it with: python -m tools.doctor --fix"
"""Before what makes it: DVC's cache may hold the same damage, and would hand it out again."""

_SchemaT = TypeVar("_SchemaT", bound=Schema)


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield the path to build a file at; it becomes `path` when the block ends without an error.

    A file that it replaces hands down its access rights. A link is replaced, never followed: DVC leaves some
    that lead into its cache.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _open_workplace(path.parent) as workplace:
        partial = workplace / path.name
        yield partial
        _sync(partial)
        _keep_access_rights(partial, path)
        partial.replace(path)
        _sync(path.parent)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces the folder `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _open_workplace(path.parent) as workplace:
        partial, replaced = workplace / "new" / path.name, workplace / _REPLACED / path.name
        partial.mkdir(parents=True)
        replaced.parent.mkdir()
        yield partial
        for file in (*sorted(partial.rglob("*")), partial):
            _sync(file)
        _keep_access_rights(partial, path)
        while not _swap_folders(partial, path, replaced):
            shutil.rmtree(replaced, ignore_errors=True)
        _sync(path.parent)


def _swap_folders(partial: Path, path: Path, replaced: Path) -> bool:
    """Move a folder aside and another to its place; return False if a third got there in between."""
    if path.is_dir():
        with suppress(FileNotFoundError):  # another process has just moved it aside
            path.rename(replaced)
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True


def _keep_access_rights(new: Path, replaced: Path) -> None:
    with suppress(FileNotFoundError):
        mode = replaced.lstat().st_mode
        if stat.S_IFMT(mode) == stat.S_IFMT(new.lstat().st_mode):
            new.chmod(mode & 0o777)


@contextmanager
def _open_workplace(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in another, of a random name and closed to other users, to build in.

    So two processes that publish the same file do not meet, and nobody can put a link where something is
    going to be written. A lock tells it from what a killed process left.
    """
    remove_leftovers(parent)
    folder, lock = _make_locked_folder(parent)
    try:
        yield folder
    finally:
        _remove_workplace(folder)
        if lock is not None:
            os.close(lock)


def _make_locked_folder(parent: Path) -> tuple[Path, int | None]:
    """Return a new folder and its lock; None where the file system has no locks."""
    while True:
        folder = parent / Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=parent)).name
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took it for a leftover before it was locked
        except OSError:
            return folder, None
        if folder.is_dir():
            return folder, lock
        os.close(lock)


def _lock(folder: Path) -> int:
    """Return a descriptor that holds the lock of a folder; the kernel releases it when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def remove_leftovers(parent: Path) -> None:
    """Remove from a folder what killed processes left: workplaces that no process has locked.

    Those that cannot be locked stay: another user's, and all on a file system without locks.
    """
    for folder in parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            lock = _lock(folder)
            try:
                _remove_workplace(folder)
            finally:
                os.close(lock)


def _remove_workplace(folder: Path) -> None:
    """Remove a workplace; a folder that was moved aside and not replaced goes back to its place."""
    for replaced in folder.glob(f"{_REPLACED}/*"):
        path = folder.parent / replaced.name
        with suppress(OSError):
            if not os.path.lexists(path):
                replaced.rename(path)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have the operating system's errors name this file; a full disk's names none, others a workplace."""
    try:
        yield
    except OSError as error:
        if error.filename is None or _PREFIX in str(error.filename):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole."""
    with publish_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, record: Schema) -> None:
    """Write a schema's record as indented JSON, keys in the order of the schema, without those that are None.

    DVC compares metrics, which are numbers.
    """
    write_text(path, record.model_dump_json(indent=2, exclude_none=True) + "\n")


def write_sealed_json(path: Path, record: Schema) -> None:
    """Write a record that a later stage reads: as `write_json`, with the SHA-256 of all the rest in it."""
    text = record.model_dump_json(indent=2) + "\n"
    assert text.startswith(_OPENING), "a sealed record has keys of its own"
    write_text(path, f"{_OPENING}{_seal_of(text)}{text.removeprefix(_OPENING)}")


def read_sealed_json(path: Path, schema: type[_SchemaT], *, made_by: str) -> _SchemaT:
    """Read a record that `write_sealed_json` wrote, after comparing its bytes with the SHA-256 in it.

    Raises:
        InputError: The file is missing, or a byte of it is not as it was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; make it with: {made_by}") from None
    text = data.decode("utf-8", errors="replace")
    start, end = len(_OPENING), len(_OPENING) + len(_seal_of(""))
    unsealed = text[:start] + text[end:]
    if text[start:end] != _seal_of(unsealed) or text.encode() != data:
        raise InputError(
            f"{path}: is damaged, or of another version (its SHA-256 is not the recorded one); "
            f"{MEND}; {made_by}"
        )
    try:
        return schema.model_validate_json(unsealed)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}; re-create it with: {made_by}") from None


def _seal_of(text: str) -> str:
    return f'"sha256": "{hashlib.sha256(text.encode()).hexdigest()}",\n  '


def first_error(error: ValidationError) -> str:
    """Return where the first of a record's problems is, and what it is."""
    if error.error_count() > _MAX_PROBLEMS:
        return f"{error.error_count():,} problems"  # to list them takes a kilobyte each
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return printable(f"{place}: {problem['msg']}" if place else problem["msg"])


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path) -> FileRecord:
    """Describe a file that was written."""
    return FileRecord(name=path.name, num_bytes=path.stat().st_size, sha256=sha256_of(path))


def check_file(folder: Path, record: FileRecord, *, made_by: str) -> Path:
    """Return the path of a recorded file after comparing its bytes with the record.

    Raises:
        InputError: The file is missing, or its bytes are not those that were written.
    """
    path = folder / record.name
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; make it with: {made_by}")
    if path.stat().st_size != record.num_bytes or sha256_of(path) != record.sha256:
        raise InputError(f"{path}: is damaged (its SHA-256 is not the recorded one); {MEND}; {made_by}")
    return path


def write_checksum(path: Path) -> None:
    """Write the SHA-256 of a file beside it, for `check_checksum` and for `sha256sum --check`."""
    _checksum_of(path).write_text(_checksum_line(path), encoding="utf-8", newline="")


def check_checksum(path: Path, *, made_by: str) -> None:
    """Compare a file with the SHA-256 beside it.

    Raises:
        InputError: One of the two is missing, or not as it was written.
    """
    try:
        is_whole = _checksum_line(path).encode() == _checksum_of(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: there is no such file; make it with: {made_by}") from None
    if not is_whole:
        raise InputError(
            f"{path}: is damaged (its SHA-256 is not the one in {_checksum_of(path).name}); {MEND}; {made_by}"
        )


def _checksum_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _checksum_line(path: Path) -> str:
    return f"{sha256_of(path)}  {path.name}\n"


_CANNOT_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that cannot sync a folder or file, as some network mounts; others are failures."""

_warned_of: set[str] = set()


def _sync(path: Path) -> None:
    """Have the file or folder on the disk, not only in memory, before it gets its name.

    Where the file system cannot, a line says so once and the path is left to the system's own time: only a
    power cut or a crash of the machine in the next seconds could lose it, whole or in part.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        _warn_of_syncing(path, str(error.strerror))
    finally:
        os.close(descriptor)


def _warn_of_syncing(path: Path, reason: str) -> None:
    kind = "folders" if path.is_dir() else "files"
    if kind in _warned_of:
        return
    _warned_of.add(kind)
    disk = next(folder for folder in path.absolute().parents if folder.is_mount())
    print(
        f"{disk}: this file system does not sync {kind} ({reason}); "
        "after a power cut, check the results with: python -m tools.verify",
        file=sys.stderr,
    )


def check_free_space(folder: Path, *, num_bytes: int, kept_bytes: int = 0, linked_bytes: int = 0) -> None:
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
