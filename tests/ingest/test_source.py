"""A folder, a zip and a tar are listed and read alike, and a bad one is refused in one line."""

import errno
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.images.sources import UnreadableFile
from stages.shared.errors import InputError
from tests.images.trees import (
    COMPRESSORS,
    member,
    picture,
    write_compressed,
    write_folder,
    write_tar,
    write_zip,
)
from tests.ingest.listed import open_source

MAX = 2**20

FILES = {
    "cat/": b"",
    "cat/1.png": b"one",
    "cat/deep/2.png": b"",
    "dog/é, \"3'.png": b"three",
    "top.txt": b"x",
}


def write_as(kind: str, tmp_path: Path, files: Mapping[str, bytes]) -> Path:
    if kind == "folder":
        return write_folder(tmp_path / "source", files)
    return (write_zip if kind == ".zip" else write_tar)(tmp_path / f"source{kind}", files)


def refusal(path: Path) -> str:
    """Return the line a source is refused with."""
    with pytest.raises(InputError) as caught:
        open_source(path).list_entries()
    message = str(caught.value)
    assert message.isprintable(), "more than one line"
    assert message.startswith("dataset.source: "), message
    return message


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar", ".ZIP"])
def test_kinds_read_alike(kind: str, tmp_path: Path) -> None:
    """Whatever holds the files, their paths and bytes are the same."""
    path = write_as(kind.lower(), tmp_path, FILES)
    if kind.isupper():
        path = path.rename(path.with_suffix(kind))
    source = open_source(path)
    entries = list(source.list_entries())
    assert {name: source.locate(name).read(max_bytes=MAX) for name in entries if not name.endswith("/")} == {
        name: data for name, data in FILES.items() if not name.endswith("/")
    }
    assert entries == sorted(entries)
    assert "cat/" in entries


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_zip(compression: int, tmp_path: Path) -> None:
    """Members may be compressed in any way Python knows."""
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": b"1" * 999}, compression=compression)
    assert open_source(path).locate("cat/1.png").read(max_bytes=MAX) == b"1" * 999


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_tar(suffix: str, tmp_path: Path) -> None:
    """It holds what the plain one does, and nothing is left on the disk beside it."""
    path = write_compressed(suffix, FILES, tmp_path)
    before = set(tmp_path.iterdir())
    source = open_source(path)
    assert list(source.list_entries()) == list(open_source(tmp_path / "plain.tar").list_entries())
    files = {name: data for name, data in FILES.items() if not name.endswith("/")}
    assert {name: source.locate(name).read(max_bytes=MAX) for name in files} == files
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_tar_is_read_from_several_threads(suffix: str, tmp_path: Path) -> None:
    """Every thread gets the bytes it asked for."""
    files = {f"cat/{i:03}.png": bytes([i]) * (100 + i) for i in range(200)}
    source = open_source(write_compressed(suffix, files, tmp_path))
    with ThreadPoolExecutor(8) as threads:
        assert (
            list(threads.map(lambda name: source.locate(name).read(max_bytes=MAX), list(files) * 5))
            == list(files.values()) * 5
        )


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("damage", ["cut off", "garbage", "empty", "plain", "a byte"])
def test_damaged_compressed_tar(suffix: str, damage: str, tmp_path: Path) -> None:
    """Whatever is wrong with it, it is refused in one line."""
    noise = {"cat/1.png": np.random.default_rng(0).bytes(5000)}
    path = write_compressed(suffix, noise, tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(
        {
            "cut off": path.read_bytes()[:-30],
            "garbage": b"no archive at all" * 9,
            "empty": b"",
            "plain": (tmp_path / "plain.tar").read_bytes(),
            "a byte": bytes(data),
        }[damage]
    )
    assert f"{path}: is no readable tar archive (" in refusal(path)


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told, with the folder and the way out."""
    path = write_compressed(".tgz", FILES, tmp_path)

    def fill(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", fill)
        assert "No space left on device; make room there, set TMPDIR" in refusal(path)
    total = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: total._replace(free=5000))  # a tar has 10,240
    assert "No space left on device; make room there, set TMPDIR" in refusal(path)


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_dialects(dialect: int, tmp_path: Path) -> None:
    """Every dialect of tar is read, long names included."""
    name = "cat/" + "n" * 90 + "/" + "m" * 60 + ".png"
    with tarfile.open(tmp_path / "a.tar", "w", format=dialect) as archive:
        info = tarfile.TarInfo(name)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    source = open_source(tmp_path / "a.tar")
    assert list(source.list_entries()) == [name]
    assert source.locate(name).read(max_bytes=MAX) == b"abc"


# What is not there, or of no known kind.


def test_missing_source(tmp_path: Path) -> None:
    """A path with nothing behind it is refused, and says what to do."""
    assert "there is no such file or folder; put class folders there, or set" in refusal(tmp_path / "nowhere")


def test_path_below_a_file(tmp_path: Path) -> None:
    """A path that goes on behind a file does not exist either."""
    (tmp_path / "a.txt").write_text("")
    assert "there is no such file or folder" in refusal(tmp_path / "a.txt" / "b")


@pytest.mark.parametrize("name", ["n" * 300, "nul\0"])
def test_impossible_path(name: str, tmp_path: Path) -> None:
    """A path the operating system refuses to look up is refused, not raised."""
    path = tmp_path / name
    with pytest.raises(InputError, match="cannot be opened"):
        open_source(path)


@pytest.mark.parametrize("name", ["cats.txt", "cats.zst", "cats.gz", "cats"])
def test_unknown_kind(name: str, tmp_path: Path) -> None:
    """A file that is no zip or tar by its name is refused, and says what is allowed."""
    (tmp_path / name).write_bytes(b"x")
    assert (
        "allowed: a folder, or a .zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .tar.zst of class"
        in refusal(tmp_path / name)
    )


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["pipe", "pipe.zip", "pipe.tar"])
def test_pipe_as_source(name: str, tmp_path: Path) -> None:
    """A pipe is refused before it is opened, for opening would wait for ever."""
    os.mkfifo(tmp_path / name)
    assert "allowed: a folder" in refusal(tmp_path / name)


# Damaged archives.

WRONG_BYTES = {"empty": b"", "short": b"PK", "garbage": bytes(range(256)) * 8, "zeros": bytes(400)}


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("data", WRONG_BYTES.values(), ids=WRONG_BYTES)
def test_garbage(suffix: str, data: bytes, tmp_path: Path) -> None:
    """A file that only has the suffix of an archive is refused."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    assert f"is no readable{' zip' if suffix == '.zip' else ' tar'} archive" in refusal(path)


def test_wrong_suffix(tmp_path: Path) -> None:
    """A tar called .zip, a zip called .tar and a compressed tar called .tar are refused."""
    write_tar(tmp_path / "a.tar", FILES).rename(tmp_path / "b.zip")
    write_zip(tmp_path / "a.zip", FILES).rename(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "c.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("cat/1.png"))
    assert "no readable zip" in refusal(tmp_path / "b.zip")
    assert "no readable tar" in refusal(tmp_path / "b.tar")
    assert "no readable tar" in refusal(tmp_path / "c.tar")


@pytest.mark.parametrize("kept", range(0, 100, 7))
def test_zip_cut_off(kept: int, tmp_path: Path) -> None:
    """A zip that lost its end is refused, wherever it was cut."""
    whole = write_zip(tmp_path / "a.zip", FILES).read_bytes()
    path = tmp_path / "cut.zip"
    path.write_bytes(whole[: len(whole) * kept // 100])
    assert "is no readable zip archive" in refusal(path)


def test_tar_cut_off(tmp_path: Path) -> None:
    """A tar that lost its end is refused wherever it was cut, also between two members."""
    path = write_tar(tmp_path / "a.tar", {f"cat/{i}.png": bytes(700) for i in range(3)})
    whole = path.read_bytes()
    end = 3 * (512 + 1024)
    assert whole[end:].strip(b"\0") == b""
    for kept in range(0, end + 512, 128):
        path.write_bytes(whole[:kept])
        assert "is no readable tar archive" in refusal(path)


def test_tar_with_a_damaged_header(tmp_path: Path) -> None:
    """A header with a wrong checksum is refused; tarfile takes it for the end, and drops what follows."""
    path = write_tar(tmp_path / "a.tar", {f"cat/{i}.png": b"" for i in range(3)})
    data = bytearray(path.read_bytes())
    data[512] ^= 1
    path.write_bytes(data)
    assert "bad header at byte 512" in refusal(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE])
def test_tar_that_leads_in_a_circle(kind: bytes, tmp_path: Path) -> None:
    """A negative size, of a plain or a sparse file, would send tarfile back to where it was, for ever."""
    first = tarfile.TarInfo("cat/1.png").tobuf(tarfile.GNU_FORMAT)
    second = bytearray(member("cat/2.png", kind, num_bytes=-1024).tobuf(tarfile.GNU_FORMAT))
    if kind == tarfile.GNUTYPE_SPARSE:
        second[483:495] = b"00000000007\0"
        second[148:156] = b" " * 8
        second[148:156] = b"%06o\0 " % sum(second)
    path = tmp_path / "a.tar"
    path.write_bytes(first + first + second + bytes(1024))
    assert "bad header at byte" in refusal(path)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from([".zip", ".tar"]))
def test_damage_of_any_kind(data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bytes an archive holds: it is refused in one line, or a file is, or it reads."""
    folder = tmp_path_factory.mktemp("damage")
    path = write_as(kind, folder, {"cat/1.png": b"1" * 20, "dog/" + "2" * 120: b"2" * 600})
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(damaged)
    message = ""
    try:
        source = open_source(path)
        for name in source.list_entries():
            assert name.strip("/"), "an entry without a name"
            if not name.endswith("/"):
                source.locate(name).read(max_bytes=MAX)
    except (InputError, UnreadableFile) as error:
        message = str(error)
    assert message.isprintable()


# Archives that climb out.

CLIMBERS = [
    "../cat.png",
    "cat/../../dog.png",
    "cat/..",
    "/etc/passwd",
    "//server/cat.png",
    "C:/cat.png",
]
CLIMBERS += [name.replace("/", "\\") for name in CLIMBERS if "/" in name]


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize("name", CLIMBERS)
def test_archive_that_climbs_out(kind: str, name: str, tmp_path: Path) -> None:
    """A member that points outside is refused and named, though nothing is ever unpacked."""
    path = write_as(kind, tmp_path, {"cat/1.png": b"", name: b""})
    assert f"holds {name}, which climbs out of the archive" in refusal(path)


@pytest.mark.parametrize(
    "name", ["cat/a..b.png", "..cat/1.png", "cat:/1.png", "cat/.../1.png", "A: cats/1.png", "c:cat.png"]
)
def test_dots_and_colons_within_names(name: str, tmp_path: Path) -> None:
    """Names that merely look like it do not climb."""
    assert list(open_source(write_zip(tmp_path / "a.zip", {name: b""})).list_entries()) == [name]


def test_newline_in_a_climbing_name(tmp_path: Path) -> None:
    """The refusal stays on one line."""
    assert "cat\\n.png" in refusal(write_tar(tmp_path / "a.tar", {"../cat\n.png": b""}))


# How archives write names.


@pytest.mark.parametrize(
    ("stored", "listed"),
    [
        ("./cat/1.png", "cat/1.png"),
        ("cat//1.png", "cat/1.png"),
        ("cat\\1.png", "cat/1.png"),
        ("cat\\", "cat/"),
        ("./cat/", "cat/"),
    ],
)
def test_names_are_tidied(stored: str, listed: str, tmp_path: Path) -> None:
    """Backslashes from Windows, doubled slashes and a leading ./ make no other path."""
    assert list(open_source(write_zip(tmp_path / "a.zip", {stored: b""})).list_entries()) == [listed]


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_the_top_itself_is_no_entry(kind: str, tmp_path: Path) -> None:
    """`tar cf a.tar .` stores the folder itself as `./`, which would be a class without a name."""
    path = write_as(kind, tmp_path, {"./": b"", "./cat/1.png": b""})
    assert list(open_source(path).list_entries()) == ["cat/1.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_last_of_a_name_counts(kind: str, tmp_path: Path) -> None:
    """Of two members of one name the later is read, as unpacking would leave it."""
    path = write_as(kind, tmp_path, {"./cat/1.png": b"old", "cat/1.png": b"new"})
    source = open_source(path)
    assert list(source.list_entries()) == ["cat/1.png"]
    assert source.locate("cat/1.png").read(max_bytes=MAX) == b"new"


def test_file_and_folder_of_one_name(tmp_path: Path) -> None:
    """A zip can hold a file where it also holds a folder; both are listed."""
    path = write_zip(tmp_path / "a.zip", {"cat": b"", "cat/1.png": b""})
    assert list(open_source(path).list_entries()) == ["cat", "cat/1.png"]


def test_tar_name_that_is_not_utf8(tmp_path: Path) -> None:
    """A Latin-1 name is listed, whatever the machine's locale."""
    path = write_tar(tmp_path / "a.tar", {"cat/caf\udce9.png": b"x"})
    assert open_source(path).locate("cat/caf\udce9.png").read(max_bytes=MAX) == b"x"


# Single files that cannot be read.


def unreadable(path: Path, name: str) -> str:
    """Return why one listed file cannot be read."""
    source = open_source(path)
    assert name in source.list_entries()
    with pytest.raises(UnreadableFile) as caught:
        source.locate(name).read(max_bytes=MAX)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("error", ["EIO", "EMFILE", "ENOMEM", "ESTALE"])
def test_a_failing_disk_is_no_reason_to_leave_a_file_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: str
) -> None:
    """The stage stops with a line that names the file; a data set without it would be taken for whole."""
    file = open_source(write_folder(tmp_path / "raw", {"cat/1.png": b"x"})).locate("cat/1.png")

    def fail(*_arguments: object, **_keywords: object) -> NoReturn:
        raise OSError(getattr(errno, error), "failed")

    monkeypatch.setattr(f"stages.images.sources.folder.os.{call}", fail)
    with pytest.raises(InputError, match=r"raw/cat/1\.png: cannot be read: failed; mend that and run again"):
        file.read(max_bytes=MAX)


def test_checksum_error(tmp_path: Path) -> None:
    """A member whose bytes were changed is named; the others read."""
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": b"first bytes", "cat/2.png": b"second"})
    path.write_bytes(path.read_bytes().replace(b"first bytes", b"fisrt bytes"))
    assert "is damaged in the archive: its checksum (CRC-32) is another" in unreadable(path, "cat/1.png")
    assert open_source(path).locate("cat/2.png").read(max_bytes=MAX) == b"second"


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_compression(compression: int, tmp_path: Path) -> None:
    """Each way of compression has an error of its own; all mean the same."""
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": picture()}, compression=compression)
    data = bytearray(path.read_bytes())
    data[45:70] = bytes(25)
    path.write_bytes(data)
    assert "is damaged" in unreadable(path, "cat/1.png")


def test_encrypted_zip(tmp_path: Path) -> None:
    """An encrypted member is named as such."""
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": b"x"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in unreadable(path, "cat/1.png")


def test_unknown_compression(tmp_path: Path) -> None:
    """A way of compression Python does not know concerns one file only."""
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": b"x"})
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\1\2") + 10] = 9
    path.write_bytes(data)
    assert "not supported" in unreadable(path, "cat/1.png")


def test_link_in_a_zip(tmp_path: Path) -> None:
    """A link is named; its bytes are a path, not an image."""
    info = zipfile.ZipInfo("cat/1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "../dog/1.png")
    assert "is a link inside the archive" in unreadable(tmp_path / "a.zip", "cat/1.png")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE])
def test_tar_member_that_is_no_plain_file(kind: bytes, tmp_path: Path) -> None:
    """Links, pipes, devices and sparse files are listed and named."""
    path = write_tar(
        tmp_path / "a.tar", {"cat/1.png": b"x"}, extra=[member("cat/2.png", kind, target="cat/1.png")]
    )
    assert "re-create the archive with tar --dereference" in unreadable(path, "cat/2.png")


def test_tar_that_shrank_after_listing(tmp_path: Path) -> None:
    """A file that ends early is not passed on as if it were whole."""
    path = write_tar(tmp_path / "a.tar", {"cat/1.png": b"x" * 100})
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:550])
    with pytest.raises(UnreadableFile, match="ends after 38 of its 100 bytes"):
        source.locate("cat/1.png").read(max_bytes=MAX)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("nowhere"), "No such file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (os.mkfifo, "is a pipe, socket or device"),
        (lambda path: path.symlink_to("/dev/zero"), "is a link out of the source, to /dev/zero; put"),
    ],
    ids=["dangling", "looping", "pipe", "device"],
)
def test_odd_files_in_a_folder(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    """A file that cannot be read is listed and named, and none is waited for."""
    write_folder(tmp_path, {"cat/1.png": b"x"})
    make(tmp_path / "cat" / "2.png")
    assert reason in unreadable(tmp_path, "cat/2.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path: Path) -> None:
    """A file without permission is named; a folder without permission stops the stage."""
    write_folder(tmp_path, {"cat/1.png": b"x"})
    (tmp_path / "cat" / "1.png").chmod(0)
    assert "Permission denied" in unreadable(tmp_path, "cat/1.png")
    (tmp_path / "cat").chmod(0)
    try:
        assert "cannot be listed: Permission denied" in refusal(tmp_path)
    finally:
        (tmp_path / "cat").chmod(0o700)


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What os.walk would pass over in silence is refused, for its images would be missing."""

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(str(path)))

    monkeypatch.setattr(os, "scandir", refuse)
    assert f"{tmp_path}: cannot be listed: Permission denied" in refusal(tmp_path)


# Links in a folder.


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    """A linked file is read like any other, as DVC hashes it."""
    write_folder(tmp_path, {"cat/1.png": b"x"})
    (tmp_path / "cat" / "2.png").symlink_to("1.png")
    assert open_source(tmp_path).locate("cat/2.png").read(max_bytes=MAX) == b"x"


@pytest.mark.timeout(10)
def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    """A link back up is listed as an empty folder and gives no image twice."""
    write_folder(tmp_path, {"cat/1.png": b"x"})
    (tmp_path / "cat" / "loop").symlink_to("..", target_is_directory=True)
    assert list(open_source(tmp_path).list_entries()) == ["cat/", "cat/1.png", "cat/loop/"]


def put_link(path: Path, target: Path) -> None:
    path.rename(path.with_name("old"))
    path.symlink_to(target)


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SWAPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "link": (lambda root: put_link(root / "cat/1.png", root.parent / "secret/1.png"), "is a link out of"),
    "folder": (lambda root: put_link(root / "cat", root.parent / "secret"), "Not a directory"),
    "pipe": (lambda root: put_pipe(root / "cat/1.png"), "is a pipe, socket or device"),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("call", "kind"),
    [("stat", "link"), ("open", "link"), ("open", "folder"), ("stat", "pipe"), ("open", "pipe")],
)
def test_a_file_that_is_swapped_while_it_is_read(
    call: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a link comes into its place, or that of its folder, nothing outside is read or waited for."""
    write_folder(tmp_path / "secret", {"1.png": b"secret"})
    file = open_source(write_folder(tmp_path / "raw", {"cat/1.png": b"x"})).locate("cat/1.png")
    swap, reason = SWAPS[kind]
    real = getattr(os, call)

    def swap_first(path: str, *rest: object, **options: object) -> object:
        if path == ("cat" if kind == "folder" else "1.png"):
            monkeypatch.undo()
            swap(tmp_path / "raw")
        return real(path, *rest, **options)

    monkeypatch.setattr(os, call, swap_first)
    with pytest.raises(UnreadableFile, match=reason):
        file.read(max_bytes=MAX)


def test_source_may_itself_be_a_link(tmp_path: Path) -> None:
    """A folder or archive may be named by a link to it."""
    write_folder(tmp_path / "real", {"cat/1.png": b"x"})
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    assert list(open_source(tmp_path / "link").list_entries()) == ["cat/", "cat/1.png"]


@pytest.mark.parametrize(
    "name", ["new\nline.png", 'quote".png', "comma,.png", "caf\udce9.png", "é" * 125 + ".png"]
)
def test_hostile_file_names(name: str, tmp_path: Path) -> None:
    """Any name the disk can hold is listed and read."""
    write_folder(tmp_path, {f"cat/{name}": b"x"})
    assert list(open_source(tmp_path).list_entries()) == ["cat/", f"cat/{name}"]
    assert open_source(tmp_path).locate(f"cat/{name}").read(max_bytes=MAX) == b"x"
