"""Archives are read as the standard library reads them, by any process, within bounds."""

import io
import multiprocessing
import pickle
import random
import struct
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.images.sources import FileRef, Source, UnreadableFile, open_archive
from stages.images.sources.folder import FolderSource
from stages.images.sources.zip import ZipSource
from stages.shared.errors import InputError
from tests.images.trees import COMPRESSORS, write_compressed, write_folder, write_tar, write_zip

MAX_BYTES = 2**20
FILES = {"cat/1.png": b"one", "cat/2.png": b"", "dog/é.png": bytes(range(256)) * 20}

component = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0:", exclude_categories=["Cs"]),
    min_size=1,
    max_size=40,
).filter(lambda text: text not in (".", ".."))
name = st.lists(component, min_size=1, max_size=4).map("/".join)
contents = st.lists(st.tuples(name, st.binary(max_size=2000)), max_size=8)
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def open_at(path: Path) -> Source:
    return open_archive(path, place="here")


def read_all(source: Source) -> dict[str, bytes]:
    return {
        entry: source.read(entry, max_bytes=MAX_BYTES)
        for entry in source.list_entries()
        if not entry.endswith("/")
    }


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=contents, methods=st.lists(st.sampled_from(METHODS), min_size=8, max_size=8), data=st.data())
def test_zip_is_read_as_by_zipfile(
    members: list[tuple[str, bytes]], methods: list[int], data: st.DataObject, tmp_path: Path
) -> None:
    """Names, bytes, comments, zip64 and data descriptors; of several members of one name the last counts."""
    path = tmp_path / "a.zip"
    path.unlink(missing_ok=True)
    stream = data.draw(st.booleans(), label="written as a stream")
    buffer = io.BytesIO()
    target = _Unseekable(buffer) if stream else buffer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that come twice
        with zipfile.ZipFile(target, "w") as archive:
            archive.comment = data.draw(st.binary(max_size=30), label="comment")
            for (member, content), method in zip(members, methods, strict=False):
                info = zipfile.ZipInfo(member)
                info.compress_type = method
                info.extra = data.draw(st.sampled_from([b"", struct.pack("<2HL", 0x1234, 4, 7)]))
                with archive.open(info, "w", force_zip64=data.draw(st.booleans())) as file:
                    file.write(content)
    path.write_bytes(data.draw(st.sampled_from([b"", b"before it"])) + buffer.getvalue())
    with zipfile.ZipFile(path) as archive:
        expected = {member: archive.read(member) for member in archive.namelist()}
    assert read_all(open_at(path)) == expected == dict(members)


class _Unseekable(io.RawIOBase):
    """A file like a pipe: zipfile then writes sizes behind each member."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self._target.write(data)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=contents, dialect=st.sampled_from(FORMATS), data=st.data())
def test_tar_is_read_as_by_tarfile(
    members: list[tuple[str, bytes]], dialect: int, data: st.DataObject, tmp_path: Path
) -> None:
    """Long names of every dialect, extended headers and numbers, folders among the files."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=dialect) as archive:
        for member, content in members:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            info.mtime = data.draw(st.sampled_from([0, 1, 2**31]))
            info.uid = data.draw(st.sampled_from([0, 2**20]))
            if dialect == tarfile.PAX_FORMAT and data.draw(st.booleans()):
                info.pax_headers = {"comment": "size=3\n12 path=x"}
            try:
                archive.addfile(info, io.BytesIO(content))
            except ValueError:  # the name is too long for USTAR
                continue
    with tarfile.open(path) as archive:
        expected = {
            info.name: file.read() for info in archive.getmembers() if (file := archive.extractfile(info))
        }
    assert read_all(open_at(path)) == expected


def test_large_numbers_of_tar(tmp_path: Path) -> None:
    """A size above 8 GiB is written in binary; the archive that claims it is cut off, not misread."""
    info = tarfile.TarInfo("cat/1.png")
    info.size = 2**34
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match="unexpected end of data"):
        open_at(tmp_path / "a.tar")


@pytest.mark.parametrize("dialect", FORMATS)
def test_hard_links_of_tar(dialect: int, tmp_path: Path) -> None:
    """A hard link is the file it is another name of; one to nothing in the archive cannot be read."""
    with tarfile.open(tmp_path / "a.tar", "w", format=dialect) as archive:
        long = "cat/" + "n" * 90 + "/" + "m" * 60
        for member, target in (("cat/1", ""), (long, ""), ("b", "./cat/1"), ("c", "b"), ("d", long[:99])):
            info = tarfile.TarInfo(member)
            info.type, info.linkname = (tarfile.LNKTYPE, target) if target else (tarfile.REGTYPE, "")
            info.size = 0 if target else len(member)
            archive.addfile(info, io.BytesIO(member.encode()))
        if dialect != tarfile.USTAR_FORMAT:
            info = tarfile.TarInfo("e")
            info.type, info.linkname = tarfile.LNKTYPE, long
            archive.addfile(info)
    source = open_at(tmp_path / "a.tar")
    names = ["b", "c", *(["e"] if dialect != tarfile.USTAR_FORMAT else [])]
    expected = {"b": b"cat/1", "c": b"cat/1", "e": long.encode()}
    assert {name: source.read(name, max_bytes=MAX_BYTES) for name in names} == {
        name: expected[name] for name in names
    }
    with pytest.raises(UnreadableFile, match="is a link, sparse or no file"):
        source.read("d", max_bytes=MAX_BYTES)


# Any process.


PROCESSES: dict[str, Callable[..., BaseProcess]] = {
    "forkserver": multiprocessing.get_context("forkserver").Process,
    "spawn": multiprocessing.get_context("spawn").Process,
}


def _send_back(files: list[FileRef], pipe: "Connection[object, object]") -> None:
    pipe.send([file.read(MAX_BYTES) for file in files])


@pytest.mark.parametrize(
    ("kind", "method"),
    [*((kind, "forkserver") for kind in ("folder", ".zip", ".tar", ".tar.zst")), (".tar.zst", "spawn")],
)
def test_another_process_reads_the_same(kind: str, method: str, tmp_path: Path) -> None:
    """References are sent to a process and read there, into the file behind a compressed tar too."""
    source = _write(kind, tmp_path)
    here, there = multiprocessing.Pipe()
    process = PROCESSES[method](target=_send_back, args=([source.locate(name) for name in FILES], there))
    process.start()
    assert here.poll(60)
    assert here.recv() == list(FILES.values())
    process.join()
    assert read_all(source) == FILES


def _write(kind: str, folder: Path) -> Source:
    if kind == "folder":
        return FolderSource(write_folder(folder / "raw", FILES), place="here")
    if kind in COMPRESSORS:
        return open_at(write_compressed(kind, FILES, folder))
    return open_at((write_zip if kind == ".zip" else write_tar)(folder / f"raw{kind}", FILES))


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_an_archive_that_was_replaced_is_noticed(kind: str, tmp_path: Path) -> None:
    """When another process opens it, it must be the archive that was listed."""
    source = _write(kind, tmp_path)
    sent = pickle.dumps(source.locate("cat/1.png"))
    path = tmp_path / f"raw{kind}"
    path.write_bytes(path.read_bytes() + bytes(1024))
    with pytest.raises(InputError, match=r"^here: was changed while it was being read; run it again$"):
        pickle.loads(sent).read(MAX_BYTES)


# Bounds.


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar", ".tar.gz"])
def test_a_file_larger_than_allowed(kind: str, tmp_path: Path) -> None:
    """It is refused, and one of exactly that size is not."""
    source = _write(kind, tmp_path)
    assert source.read("cat/1.png", max_bytes=3) == b"one"
    with pytest.raises(UnreadableFile, match=r"has 3 bytes, more than the 2 allowed"):
        source.read("cat/1.png", max_bytes=2)


@pytest.mark.parametrize("compression", METHODS[1:])
def test_a_member_that_unpacks_to_more_than_it_states(compression: int, tmp_path: Path) -> None:
    """It is stopped one byte after what it states, whatever it would unpack to."""
    path = write_zip(tmp_path / "a.zip", {"1.png": bytes(10**7)}, compression=compression)
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\1\2") + 24, 1000)
    path.write_bytes(data)
    source = open_at(path)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFile, match="holds more instead of 1,000 bytes"):
            source.read("1.png", max_bytes=10**6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 9 * 10**6  # LZMA takes 8 MiB whatever it unpacks


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_memory_of_a_member(kind: str, tmp_path: Path) -> None:
    """A million members take a million times this: once open a str and a row, and twice that as it opens."""
    num_members = 5000
    files = {f"class/{i * 7919 % num_members:06}.png": b"x" for i in range(num_members)}
    path = (write_zip if kind == ".zip" else write_tar)(tmp_path / f"a{kind}", files)
    tracemalloc.start()
    try:
        source = open_at(path)
        num_bytes, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_bytes / num_members < sys.getsizeof("class/000000.png") + 50
    assert (peak - num_bytes) / num_members < 200  # the directory of a zip, and the order of the names
    assert len(source.list_entries()) == num_members


def test_a_reference_is_small(tmp_path: Path) -> None:
    """What a process is sent of each file does not grow with the archive, and names the archive once."""
    source = open_at(write_zip(tmp_path / "a.zip", {f"{i}.png": b"x" for i in range(1000)}))
    files = [source.locate(name) for name in source.list_entries()]
    assert len(pickle.dumps(files[:100])) < 100 * 30 + 300


# What zipfile does not tell.


def test_names_of_other_code_pages(tmp_path: Path) -> None:
    """UTF-8 without a mark is read as such; what is none is code page 437, as the format says."""
    path = write_zip(tmp_path / "a.zip", {"XXXX.png": b"1", "YYYY.png": b"2"})
    data = path.read_bytes().replace(b"XXXX", "éé".encode()).replace(b"YYYY", b"\x81\x82\x84\x94")
    path.write_bytes(data)
    assert list(open_at(path).list_entries()) == sorted(["éé.png", "üéäö.png"])


def test_a_name_in_an_extra_field(tmp_path: Path) -> None:
    """The Unicode path that some tools add counts, if it belongs to the name."""
    raw = b"caf\x82.png"
    path = tmp_path / "a.zip"
    for checksum, expected in ((zlib.crc32(raw), "日本.png"), (1, "café.png")):
        info = zipfile.ZipInfo("caf_.png")
        field = struct.pack("<BL", 1, checksum) + "日本.png".encode()
        info.extra = struct.pack("<2H", 0x7075, len(field)) + field
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(info, b"x")
        path.write_bytes(path.read_bytes().replace(b"caf_.png", raw))
        assert list(ZipSource(path, place="here").list_entries()) == [expected]


# Damage.


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_mutated_archives(kind: str, tmp_path: Path) -> None:
    """Bytes flipped, cut, put in and swapped: an archive reads, or one line says what is wrong."""
    draw = random.Random(0)
    files = {f"cat/{i}.png": draw.randbytes(300) for i in range(5)} | {"dog/" + "n" * 150: b"x" * 700}
    path = tmp_path / f"raw{kind}"
    if kind in COMPRESSORS:
        whole = write_compressed(kind, files, tmp_path).read_bytes()
    elif kind == ".zip":
        whole = write_zip(path, files, compression=zipfile.ZIP_DEFLATED).read_bytes()
    else:
        whole = write_tar(path, files).read_bytes()
    num_refused = 0
    for _ in range(300):
        path.write_bytes(_mutate(whole, draw))
        message = ""
        try:
            read = read_all(open_at(path))
            assert all(files.get(name, data) == data for name, data in read.items()) or kind == ".tar"
        except (InputError, UnreadableFile) as error:
            message = str(error)
            num_refused += 1
        assert message.isprintable()
    assert num_refused > 50


def _mutate(whole: bytes, draw: random.Random) -> bytes:
    """Return bytes with one to three changes."""
    data = bytearray(whole)
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randrange(len(data)), draw.choice([1, 1, 2, 4, 16, 512])
        kind = draw.choice(["flip", "set", "cut", "insert", "swap", "end"])
        piece = data[at : at + length]
        if kind == "flip":
            data[at] ^= 1 << draw.randrange(8)
        elif kind == "set":
            data[at : at + length] = draw.choice([b"\0", b"\xff", b"7"]) * len(piece)
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw.randbytes(length)
        elif kind == "swap":
            other = draw.randrange(len(data))
            data[at : at + length], data[other : other + length] = data[other : other + length], piece
        elif len(data) > 10:
            del data[max(5, at) :]
    return bytes(data)
