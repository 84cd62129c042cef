"""A file is read again whenever anything about it is in doubt, and never otherwise; so are its pixels."""

import errno
import fcntl
import os
import shutil
import sqlite3
import tarfile
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from schemas.shared.manifest import FileRecord
from stages.images.decode import DEFAULT_LIMITS
from stages.ingest import decoded_cache
from stages.ingest.decoded_cache import DecodedCache, States, connect, name_version, open_cache
from stages.ingest.measure import FEATURES
from tests.architecture.imports import ROOT, walk_imports
from tests.images.trees import form
from tests.ingest.listed import open_source

PATHS = ["cat/1.png", "cat/2.png", "dog/1.png"]
DIGESTS = np.arange(96, dtype=np.uint8).reshape(3, 32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder of three files of one size, on the file system of the cache."""
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


def open_cache_of(source: Path) -> DecodedCache:
    """Open the cache as the next run would, when the file system's clock has moved on."""
    wait_for_tick(source.parent)
    return DecodedCache(source.parent / "cache")


def note(source: Path, *, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Look at all files, read them, and record what they hold, as a run does; `meanwhile`: after reading."""
    with closing(open_cache_of(source)) as cache:
        states = cache.state_of(open_source(source), PATHS)
        meanwhile()
        record(cache, states)


def record(cache: DecodedCache, states: States) -> None:
    add_shard(cache, DIGESTS)
    cache.record_files(states, DIGESTS)


def add_shard(cache: DecodedCache, digests: npt.NDArray[np.uint8]) -> FileRecord:
    """Add images of 2 x 2 x 1 px, each of one grey level, by the SHA-256 of their files."""
    levels = digests[:, :1, None, None]
    written = cache.folder / "shard.partial"
    with written.open("wb") as file:
        np.save(file, np.broadcast_to(levels, (len(digests), 2, 2, 1)))
    features = np.zeros(len(digests), dtype=FEATURES)
    features["std"] = digests[:, 0]
    return cache.add_shard(written, list(map(bytes, digests)), features)


def known(source: Path) -> list[str]:
    """Return the files that the next run would not read."""
    with closing(open_cache_of(source)) as cache:
        cache.forget_damaged()
        found = cache.find_files(cache.state_of(open_source(source), PATHS))
        np.testing.assert_array_equal(found.sha256[found.is_known], DIGESTS[found.is_known])
        np.testing.assert_array_equal(found.features["std"][found.is_known], DIGESTS[found.is_known, 0])
        if found.is_known.any():
            pixels = cache.read_pixels(found.shard[found.is_known], found.row[found.is_known])
            np.testing.assert_array_equal(pixels[:, 0, 0, 0], DIGESTS[found.is_known, 0])
        return [path for path, is_known in zip(PATHS, found.is_known, strict=True) if is_known]


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
    racy = source / PATHS[0]
    racy.write_bytes(b"cat/y.png")
    clock = racy.stat().st_ctime_ns
    for began_ns, expected in ((clock, PATHS[1:]), (clock + 1, PATHS)):  # in the next tick it would be sure
        with closing(DecodedCache(source.parent / "cache")) as cache:
            monkeypatch.setattr(cache, "_began_ns", began_ns)
            record(cache, cache.state_of(open_source(source), PATHS))
        assert known(source) == expected


def test_written_while_it_was_read(source: Path) -> None:
    """States are those before reading: what changed afterwards is in another one."""
    note(source, meanwhile=lambda: (source / PATHS[1]).write_bytes(b"cat/z.png"))
    assert known(source) == [PATHS[0], PATHS[2]]


def test_written_in_the_future(source: Path) -> None:
    """A time of writing that is yet to come says nothing."""
    os.utime(source / PATHS[0], (time.time() + 3600,) * 2)
    note(source)
    assert known(source) == PATHS[1:]


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "remove"])
def test_a_damaged_database_is_dropped(source: Path, damage: str) -> None:
    """Nothing it says is believed, and the next run starts over."""
    note(source)
    path = source.parent / "cache" / "images.sqlite"
    data = path.read_bytes()
    path.unlink()
    if damage != "remove":
        path.write_bytes({"cut": data[:2000], "garbage": b"x" * 9000, "empty": b""}[damage])
    assert known(source) == []
    note(source)
    assert known(source) == PATHS


def test_a_flipped_bit_in_a_row_is_noticed(source: Path) -> None:
    """SQLite does not check what it stores: the image is decoded again."""
    note(source)
    with closing(connect(source.parent / "cache" / "images.sqlite")) as connection, connection:
        connection.execute("UPDATE images SET row = 2 WHERE sha256 = ?", (bytes(DIGESTS[0]),))
    assert known(source) == PATHS[1:]


def test_damaged_features_are_noticed(source: Path) -> None:
    """All images of their shard are decoded again."""
    note(source)
    with closing(connect(source.parent / "cache" / "images.sqlite")) as connection, connection:
        features = bytearray(connection.execute("SELECT features FROM shards").fetchone()[0])
        features[40] ^= 1
        connection.execute("UPDATE shards SET features = ?", (bytes(features),))
    assert known(source) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_shard_is_forgotten(source: Path, damage: str) -> None:
    """One flipped byte, a missing end, or a missing file; other shards are still known."""
    with closing(open_cache_of(source)) as cache:
        states = cache.state_of(open_source(source), PATHS)
        add_shard(cache, DIGESTS[:1])
        add_shard(cache, DIGESTS[1:])
        cache.record_files(states, DIGESTS)
    (path,) = (path for path in (source.parent / "cache").glob("*.npy") if len(np.load(path)) == 1)
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage != "remove":
        data[-1] ^= 1
        path.write_bytes(data if damage == "flip" else data[:-1])
    assert known(source) == PATHS[1:]


def test_a_shard_is_found_by_its_images(source: Path) -> None:
    """The same files in the same order; what this run neither wrote nor found is removed at its end."""
    with closing(open_cache_of(source)) as cache:
        whole = add_shard(cache, DIGESTS)
        add_shard(cache, DIGESTS[:2])
    with closing(open_cache_of(source)) as cache:
        cache.forget_damaged()
        assert cache.find_shard(list(map(bytes, DIGESTS[::-1]))) is None
        assert cache.find_shard(list(map(bytes, DIGESTS))) == whole
        cache.drop_others()
        assert [path.name for path in cache.folder.glob("*.npy")] == [whole.name]


def test_other_file_system(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock may be another one, so its files are read."""
    with closing(open_cache_of(source)) as cache:
        monkeypatch.setattr(cache, "_device", -1)
        assert not cache.state_of(open_source(source), PATHS).any()


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


# Where caches are kept.


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a DVC repository, and return where caches are kept in it."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / ".dvc" / "tmp" / "darkroom" / "decoded"


def test_every_form_has_its_own_cache(repository: Path, tmp_path: Path) -> None:
    """What one run keeps the next one finds; three forms stay."""
    for height in (1, 2, 3, 4, 1, 5):
        with open_cache(form(height_px=height), DEFAULT_LIMITS, private=tmp_path / "private"):
            pass
    assert len([path for path in repository.iterdir() if path.is_dir()]) == 3
    assert not (tmp_path / "private").exists()


def test_two_runs_at_once(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one keeps to itself, and says so."""
    with open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "a") as first:
        with open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "b") as second:
            assert first.folder.is_relative_to(repository)
            assert second.folder == tmp_path / "b"
        assert "another run is decoding these images" in capsys.readouterr().out
        assert not (tmp_path / "b").exists()


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nowhere to keep pixels: the run decodes all of them, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "private") as cache:
        assert cache.folder == tmp_path / "private"
    assert not (tmp_path / "private").exists()


def fail_to_lock(monkeypatch: pytest.MonkeyPatch, number: int, *calls: str) -> None:
    """Have locks of whole files (flock) or of bytes (lockf) fail, as on some network mounts."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for call in calls:
        monkeypatch.setattr(fcntl, call, fail)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    """It is not taken for another run at work: the run keeps to itself, and says why."""
    fail_to_lock(monkeypatch, number, "flock", "lockf")
    with open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "a") as cache:
        assert cache.folder == tmp_path / "a"
        assert cache.database is None
    printed = capsys.readouterr().out
    assert f"cannot lock ({os.strerror(number)})" in printed
    assert "another run" not in printed


def test_sqlite_without_locks(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would wait a minute and give up; it is told not to lock, and workers do not read beside it."""
    fail_to_lock(monkeypatch, errno.ENOLCK, "lockf")
    note(source)
    with closing(open_cache_of(source)) as cache:
        assert cache.database is None
        assert len(cache.find_files(cache.state_of(open_source(source), PATHS)).is_known) == len(PATHS)


def test_a_database_that_cannot_be_used_is_named(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that another program has locked: one clear line, and no other's file is deleted."""
    monkeypatch.setattr(decoded_cache, "_BUSY_SECONDS", 0.01)
    with open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "a") as cache:
        database = cache.database
    assert database is not None
    with closing(connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(OSError, match="database is locked"),
            open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "a"),
        ):
            pass
    assert database.exists()


# What empties a cache.


def test_only_decoding_code_empties_the_cache() -> None:
    """The files named are all that decoding imports, so that a changed message elsewhere decodes nothing."""
    seen = walk_imports(ROOT / "stages/images/decode.py") | walk_imports(ROOT / "stages/ingest/measure.py")
    code = {
        path.relative_to(ROOT / "stages").as_posix() for path in seen if (ROOT / "stages") in path.parents
    }
    assert set(decoded_cache.DECODING_CODE) == {
        path for path in code if path.startswith(("images/", "ingest/"))
    } - {"images/__init__.py"}


def test_another_library_or_limit_empties_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of another decoder may differ."""
    first = name_version(form(), DEFAULT_LIMITS)
    assert name_version(form(), DEFAULT_LIMITS) == first
    assert name_version(form(height_px=9), DEFAULT_LIMITS) != first
    assert name_version(form(depth16="percentile"), DEFAULT_LIMITS) != first
    monkeypatch.setattr("cv2.__version__", "0")
    assert name_version(form(), DEFAULT_LIMITS) != first


def test_a_failing_database_names_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: one line names the cache's folder, not that of the results."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    opened = open_cache(form(), DEFAULT_LIMITS, private=tmp_path / "private")
    with pytest.raises(OSError, match="database or disk is full") as caught, opened:
        raise sqlite3.OperationalError("database or disk is full")
    assert Path(caught.value.filename).is_relative_to(tmp_path / ".dvc/tmp/darkroom/decoded")
