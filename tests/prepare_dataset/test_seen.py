"""A file is read again whenever anything about it is in doubt, and never otherwise."""

import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.prepare_dataset.seen import SeenFiles
from stages.prepare_dataset.source import open_source

PATHS = ["cat/1.png", "cat/2.png", "dog/1.png"]
DIGESTS = np.arange(96, dtype=np.uint8).reshape(3, 32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder of three files of one size, on the file system of the record."""
    for path in PATHS:
        (tmp_path / "raw" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / path).write_bytes(path.encode())
    return tmp_path / "raw"


def wait_for_tick(folder: Path) -> None:
    """Wait until the file system's clock shows another time."""
    os.utime(folder)
    before = folder.stat().st_mtime_ns
    while folder.stat().st_mtime_ns == before:
        time.sleep(0.002)
        os.utime(folder)


def note(source: Path, *, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Look at all files, read them, and write the record, as a run does; `meanwhile`: after reading."""
    wait_for_tick(source.parent)
    seen = SeenFiles(source.parent / "seen")
    states = seen.look_at(open_source(source), PATHS)
    meanwhile()
    seen.write(states, DIGESTS)


def known(source: Path) -> list[str]:
    """Return the files that the next run would not read."""
    wait_for_tick(source.parent)
    seen = SeenFiles(source.parent / "seen")
    same, digests = seen.find(seen.look_at(open_source(source), PATHS))
    np.testing.assert_array_equal(digests, DIGESTS[same])
    return [PATHS[place] for place in same]


def test_unchanged_files_are_not_read(source: Path) -> None:
    """Each is told with its own SHA-256."""
    assert known(source) == []
    note(source)
    assert known(source) == PATHS


def test_replaced_with_the_same_size_and_time(source: Path) -> None:
    """Whoever sets back the time of writing cannot set back the time of change."""
    note(source)
    path = source / PATHS[0]
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert known(source) == PATHS[1:]


@pytest.mark.parametrize("change", ["write", "replace", "swap", "link", "touch"])
def test_changed_files_are_read(source: Path, change: str) -> None:
    """However a file came by its bytes."""
    note(source)
    first, second = source / PATHS[0], source / PATHS[1]
    if change == "write":
        first.write_bytes(b"cat/x.png")
    elif change == "replace":
        (source / "new").write_bytes(b"cat/x.png")
        (source / "new").replace(first)
    elif change == "swap":
        first.rename(source / "new")
        second.rename(first)
        (source / "new").rename(second)
    elif change == "link":
        first.rename(source / "new")
        first.symlink_to(source / "new")
    else:
        os.utime(first)
    assert set(known(source)) <= set(PATHS[1:])
    assert PATHS[2] in known(source)


def test_written_in_the_tick_in_which_it_was_read(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Racy Git: a file may change once more within a tick and look the same, so it is read the next time.

    Here all of a run falls into the tick of the file's last change: the clock stands still at it.
    """
    wait_for_tick(source.parent)
    seen = SeenFiles(source.parent / "seen")
    racy = source / PATHS[0]
    racy.write_bytes(b"cat/y.png")
    clock = racy.stat().st_ctime_ns
    monkeypatch.setattr(seen, "_began_ns", clock)
    seen.write(seen.look_at(open_source(source), PATHS), DIGESTS)
    assert known(source) == PATHS[1:]
    monkeypatch.setattr(seen, "_began_ns", clock + 1)  # the next tick: it would be sure
    seen.write(seen.look_at(open_source(source), PATHS), DIGESTS)
    assert known(source) == PATHS


def test_written_while_it_was_read(source: Path) -> None:
    """States are those before reading: what changed afterwards is in another one."""
    note(source, meanwhile=lambda: (source / PATHS[1]).write_bytes(b"cat/z.png"))
    assert known(source) == [PATHS[0], PATHS[2]]


def test_written_in_the_future(source: Path) -> None:
    """A time of writing that is yet to come says nothing."""
    os.utime(source / PATHS[0], (time.time() + 3600,) * 2)
    note(source)
    assert known(source) == PATHS[1:]


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty", "remove"])
def test_damaged_record(source: Path, damage: str) -> None:
    """It is not believed in anything: all files are read."""
    note(source)
    path = source.parent / "seen"
    data = bytearray(path.read_bytes())
    for place in (0, 40, len(data) - 1) if damage == "flip" else (0,):
        changed = bytearray(data)
        changed[place] ^= 1
        damaged = {"flip": changed, "cut": data[:-48], "grow": data + bytes(48)}
        path.write_bytes(damaged.get(damage, bytearray()))
        if damage == "remove":
            path.unlink()
        assert known(source) == []


def test_other_file_system(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock may be another one, so its files are read."""
    wait_for_tick(source.parent)
    seen = SeenFiles(source.parent / "seen")
    monkeypatch.setattr(seen, "_device", -1)
    assert not seen.look_at(open_source(source), PATHS).any()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives(source: Path, kind: str) -> None:
    """Members are as they were as long as the archive is; one that is unpacked has to be read."""
    archive = source.parent / f"raw.{kind}"

    def write() -> None:
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as written:
                for path in PATHS:
                    written.write(source / path, path)
        else:
            with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as tar:
                tar.add(source, ".")

    write()
    note(archive)
    assert known(archive) == ([] if kind == "tar.gz" else PATHS)
    status = archive.stat()
    write()
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known(archive) == []


def test_copies_of_the_source(source: Path) -> None:
    """A copy with all times kept is other files, as in the folder that an experiment runs in."""
    note(source)
    shutil.copytree(source, source.parent / "copy", copy_function=shutil.copy2)
    assert known(source.parent / "copy") == []
    assert known(source) == PATHS
