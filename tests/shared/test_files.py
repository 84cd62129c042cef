"""Files appear whole or not at all, and are checked when they are read."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.shared.fields import Schema
from schemas.shared.manifest import FileRecord
from stages.shared import files
from stages.shared.errors import InputError
from stages.shared.files import (
    check_file,
    check_free_space,
    describe_file,
    first_error,
    publish_file,
    publish_folder,
    read_sealed_json,
    sha256_of,
    write_json,
    write_sealed_json,
    write_text,
)


class Cat(Schema):
    """A record to write and read."""

    name: str
    lives: int


class Stop(Exception):
    """Something that goes wrong half way."""


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Files.


def test_file_is_written_whole(tmp_path: Path) -> None:
    """The folders above it are made, and only the file is left."""
    write_text(tmp_path / "a" / "b" / "c.txt", "é\r\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"\xc3\xa9\r\n"
    assert names_in(tmp_path / "a" / "b") == {"c.txt"}


@pytest.mark.parametrize("earlier", [True, False])
def test_file_that_fails(earlier: bool, tmp_path: Path) -> None:
    """An error half way leaves what was there before, or nothing."""
    path = tmp_path / "a.txt"
    if earlier:
        path.write_text("earlier")

    def write_half() -> None:
        with publish_file(path) as partial:
            partial.write_text("half")
            raise Stop

    with pytest.raises(Stop):
        write_half()
    assert names_in(tmp_path) == ({"a.txt"} if earlier else set())
    assert not earlier or path.read_text() == "earlier"


def test_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    """Until the block ends, a reader finds the file of before."""
    path = tmp_path / "a.txt"
    write_text(path, "earlier")
    with publish_file(path) as partial:
        partial.write_text("now")
        assert path.read_text() == "earlier"
    assert path.read_text() == "now"


def test_a_file_is_built_by_two_at_once(tmp_path: Path) -> None:
    """Neither writes into the other's, nor removes it; the one that ends last is there, whole."""
    path = tmp_path / "a.txt"
    with publish_file(path) as first:
        first.write_text("first")
        write_text(path, "second")
        assert path.read_text() == "second"
        write_text(tmp_path / "b.txt", "third")
    assert path.read_text() == "first"
    assert names_in(tmp_path) == {"a.txt", "b.txt"}


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """Nothing is written to, through or over what is called like the file, whatever the suffix."""
    (tmp_path / "other").write_text("other")
    (tmp_path / "a.txt.partial").symlink_to("other")
    (tmp_path / "a.txt.replaced").write_text("of the user")
    (tmp_path / ".darkroom-0123abcd.partial").symlink_to(tmp_path)
    names = names_in(tmp_path)
    write_text(tmp_path / "a.txt", "now")
    fill(tmp_path / "a", "now")
    assert names_in(tmp_path) == names | {"a.txt", "a"}
    assert (tmp_path / "other").read_text() == "other"


def test_a_link_is_replaced(tmp_path: Path) -> None:
    """What it leads to, such as an object of DVC's cache, is left alone."""
    (tmp_path / "other").write_text("other")
    (tmp_path / "a.txt").symlink_to("other")
    write_text(tmp_path / "a.txt", "now")
    assert (tmp_path / "a.txt").read_text() == "now"
    assert (tmp_path / "other").read_text() == "other"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o777])
def test_access_rights_are_kept(mode: int, tmp_path: Path) -> None:
    """Who could read a file can read the one that replaces it, and nobody else; so it is with folders."""
    write_text(tmp_path / "a.txt", "earlier")
    (tmp_path / "a.txt").chmod(mode)
    write_text(tmp_path / "a.txt", "now")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode
    fill(tmp_path / "out", "earlier")
    (tmp_path / "out").chmod(mode | 0o700)
    fill(tmp_path / "out", "now")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode | 0o700


def test_access_rights_of_a_new_file(tmp_path: Path) -> None:
    """They are those that any file gets here."""
    (tmp_path / "plain.txt").touch()
    (tmp_path / "plain").mkdir()
    write_text(tmp_path / "a.txt", "now")
    fill(tmp_path / "a", "now")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_names_the_file(tmp_path: Path) -> None:
    """Not the place where it is built, of which a user knows nothing."""
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match=r"directory: '.*/out'") as caught:
        write_text(tmp_path / "out", "now")
    assert caught.value.filename == str(tmp_path / "out")
    assert names_in(tmp_path) == {"out"}


# Folders.


def fill(path: Path, text: str) -> None:
    with publish_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(text)


def test_folder_replaces_the_one_before(tmp_path: Path) -> None:
    """Nothing of the earlier folder stays, and nothing else is left."""
    fill(tmp_path / "out", "first")
    (tmp_path / "out" / "old.txt").write_text("")
    fill(tmp_path / "out", "second")
    assert names_in(tmp_path) == {"out"}
    assert names_in(tmp_path / "out") == {"deep"}
    assert (tmp_path / "out" / "deep" / "a.txt").read_text() == "second"


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
def test_folder_that_fails(error: type[BaseException], tmp_path: Path) -> None:
    """Whatever ends the block early, the earlier folder is as it was, and nothing else is left."""
    path = tmp_path / "out"
    fill(path, "first")

    def fill_half() -> None:
        with publish_folder(path) as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(error):
        fill_half()
    assert names_in(tmp_path) == {"out"}
    assert (path / "deep" / "a.txt").read_text() == "first"


def test_two_at_once(tmp_path: Path) -> None:
    """Each builds its own folder; both end well, and the one that ends last is there, whole."""
    path = tmp_path / "out"
    with publish_folder(path) as first:
        (first / "a.txt").write_text("first")
        fill(path, "second")
        assert (path / "deep" / "a.txt").read_text() == "second"
    assert names_in(tmp_path) == {"out"}
    assert (path / "a.txt").read_text() == "first"
    assert names_in(path) == {"a.txt"}


def test_another_publishes_between_the_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that comes into the way is replaced as well."""
    path = tmp_path / "out"
    fill(path, "first")
    rename = Path.rename

    def rename_and_be_late(self: Path, target: Path) -> Path:
        renamed = rename(self, target)
        if self == path and not path.exists():
            monkeypatch.undo()
            fill(path, "in between")
        return renamed

    monkeypatch.setattr(Path, "rename", rename_and_be_late)
    fill(path, "second")
    assert names_in(tmp_path) == {"out"}
    assert (path / "deep" / "a.txt").read_text() == "second"


def test_folder_where_there_is_a_file(tmp_path: Path) -> None:
    """The file is left alone."""
    (tmp_path / "out").write_text("of the user")
    with pytest.raises(NotADirectoryError):
        fill(tmp_path / "out", "first")
    assert (tmp_path / "out").read_text() == "of the user"
    assert names_in(tmp_path) == {"out"}


def leave(parent: Path, *, folder: str, file: str) -> Path:
    """Leave what a process leaves that is killed while it publishes."""
    left = parent / ".darkroom-0123abcd.partial" / folder
    left.mkdir(parents=True)
    (left / file).write_text("left")
    return left


@pytest.mark.parametrize("what", ["file", "folder"])
def test_leftovers_of_a_killed_run(what: str, tmp_path: Path) -> None:
    """What a killed run left beside an output goes, and does not get into the next."""
    leave(tmp_path, folder="new/out", file="half.txt")
    if what == "folder":
        fill(tmp_path / "out", "first")
        assert names_in(tmp_path / "out") == {"deep"}
    else:
        write_text(tmp_path / "out", "first")
    assert names_in(tmp_path) == {"out"}


def test_killed_between_two_renames(tmp_path: Path) -> None:
    """The earlier folder, moved aside and not yet replaced, is put back rather than deleted."""
    leave(tmp_path, folder="replaced/out", file="a.txt")

    def fail() -> None:
        with publish_folder(tmp_path / "out"):
            raise Stop

    with pytest.raises(Stop):
        fail()
    assert names_in(tmp_path) == {"out"}
    assert (tmp_path / "out" / "a.txt").read_text() == "left"


def test_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has none, leftovers may be somebody's work and stay."""

    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    left = leave(tmp_path, folder="new/out", file="a.txt")
    fill(tmp_path / "out", "first")
    assert (tmp_path / "out" / "deep" / "a.txt").read_text() == "first"
    assert names_in(tmp_path) == {"out", left.parents[1].name}


# Records.


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_record_round_trip(name: str, lives: int) -> None:
    """What is written is what is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cat.json"
        write_sealed_json(path, Cat(name=name, lives=lives))
        assert read_sealed_json(path, Cat, made_by="") == Cat(name=name, lives=lives)


def test_record_is_readable(tmp_path: Path) -> None:
    """Indented, in the schema's order, with a line end at the end, for diffs."""
    write_json(tmp_path / "cat.json", Cat(lives=9, name="Zoë"))
    assert (tmp_path / "cat.json").read_text(encoding="utf-8") == '{\n  "name": "Zoë",\n  "lives": 9\n}\n'


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "there is no such file"),
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b'{\n  "name": "Tom",\n  "lives": 9\n}\n', "is damaged"),
        (b"\xff", "is damaged"),
    ],
)
def test_bad_record(data: bytes | None, problem: str, tmp_path: Path) -> None:
    """A record that is missing or that nobody sealed is told in one line, with the command that makes it."""
    path = tmp_path / "cat.json"
    if data is not None:
        path.write_bytes(data)
    assert problem in refusal_of(path, Cat)


def test_every_flipped_bit_of_a_record_is_found(tmp_path: Path) -> None:
    """Also one in the seal itself."""
    path = tmp_path / "cat.json"
    write_sealed_json(path, Cat(name="Zoë", lives=9))
    sound = path.read_bytes()
    for place in range(8 * len(sound)):
        data = bytearray(sound)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        assert "is damaged" in refusal_of(path, Cat)


def test_record_of_another_schema(tmp_path: Path) -> None:
    """One that is whole, but of another version, is told by its first problem."""

    class Lion(Schema):
        name: str

    write_sealed_json(tmp_path / "cat.json", Lion(name="Leo"))
    assert "cat.json: lives: Field required; " in refusal_of(tmp_path / "cat.json", Cat)


def refusal_of(path: Path, schema: type[Schema]) -> str:
    """Return the one line by which a record is refused."""
    with pytest.raises(InputError) as caught:
        read_sealed_json(path, schema, made_by="make cats")
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert message.endswith((": make cats", "--fix; make cats"))
    return message


def test_first_problem() -> None:
    """Of several problems the first is told, with its place."""
    with pytest.raises(ValidationError) as caught:
        Cat.model_validate({"lives": 1.5})
    assert first_error(caught.value) == "name: Field required"


# Syncing.


def fail_to_sync(monkeypatch: pytest.MonkeyPatch, number: int, *, only: Callable[[int], bool]) -> None:
    """Have fsync answer an error for some kinds of files."""
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if only(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(files, "_warned_of", set())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
@pytest.mark.parametrize("only", [stat.S_ISDIR, stat.S_ISREG])
def test_a_file_system_that_does_not_sync(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    only: Callable[[int], bool],
) -> None:
    """As some network mounts: files are published all the same, and one line says what that risks."""
    fail_to_sync(monkeypatch, number, only=only)
    for name in ("a", "b"):
        write_text(tmp_path / name, name)
    with publish_folder(tmp_path / "folder") as folder:
        (folder / "c").write_text("c")
    assert [path.read_text() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == ["a", "b", "c"]
    [line] = capsys.readouterr().err.splitlines()
    assert "this file system does not sync" in line


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_file_that_fails_to_sync_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A broken or full disk is no disk that cannot sync."""
    fail_to_sync(monkeypatch, number, only=stat.S_ISREG)
    with pytest.raises(OSError, match=os.strerror(number)):
        write_text(tmp_path / "a", "a")
    assert not (tmp_path / "a").exists()


# Checksums.


@given(st.binary(max_size=100))
def test_sha256(data: bytes) -> None:
    """It is the SHA-256 of the bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(data)
        assert sha256_of(path) == hashlib.sha256(data).hexdigest()
        assert describe_file(path) == FileRecord(name="a", num_bytes=len(data), sha256=sha256_of(path))


def test_checked_file(tmp_path: Path) -> None:
    """A file that is as recorded gives its path."""
    (tmp_path / "a").write_bytes(b"abc")
    assert check_file(tmp_path, describe_file(tmp_path / "a"), made_by="") == tmp_path / "a"


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: path.write_bytes(b"abd"),
    "longer": lambda path: path.write_bytes(b"abcd"),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file(damage: Callable[[Path], object], tmp_path: Path) -> None:
    """A file that is not as recorded is refused, with the command that makes it."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    record = describe_file(path)
    damage(path)
    with pytest.raises(InputError, match=r"^.*/a: .*with: .*make a$"):
        check_file(tmp_path, record, made_by="make a")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 100 MiB free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * 2**20))


@pytest.mark.usefixtures("disk")
def test_twice_the_output_has_to_fit(tmp_path: Path) -> None:
    """DVC's cache may copy it; what is kept beside it counts once."""
    check_free_space(tmp_path, num_bytes=50 * 2**20)
    check_free_space(tmp_path, num_bytes=20 * 2**20, kept_bytes=60 * 2**20)
    with pytest.raises(InputError, match=r"needs 102 MiB of disk, and 100 MiB are free; make room"):
        check_free_space(tmp_path, num_bytes=51 * 2**20)
    with pytest.raises(InputError, match="needs 101 MiB"):
        check_free_space(tmp_path, num_bytes=20 * 2**20, kept_bytes=61 * 2**20)


@pytest.mark.usefixtures("disk")
def test_what_is_there_already_needs_no_room(tmp_path: Path) -> None:
    """Images that earlier runs decoded are linked; never is more taken off than the output is large."""
    check_free_space(tmp_path, num_bytes=90 * 2**20, linked_bytes=80 * 2**20)
    with pytest.raises(InputError, match="needs 101 MiB"):
        check_free_space(tmp_path, num_bytes=90 * 2**20, linked_bytes=79 * 2**20)
    with pytest.raises(InputError, match="needs 101 MiB"):
        check_free_space(tmp_path, num_bytes=101 * 2**20, linked_bytes=999 * 2**20)


def test_an_output_that_is_not_there_yet(tmp_path: Path) -> None:
    """The folder above it tells how much is free."""
    check_free_space(tmp_path / "data" / "model", num_bytes=1)
    with pytest.raises(InputError, match="data/model: needs"):
        check_free_space(tmp_path / "data" / "model", num_bytes=2**60)


def test_a_folder_that_another_process_has_just_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and the move: it is replaced all the same."""
    with publish_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("new")
        monkeypatch.setattr(Path, "is_dir", lambda _path: True)
    assert (tmp_path / "out" / "a").read_text() == "new"
