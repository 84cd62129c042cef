"""Archives are read as the standard library reads them, by any process, within bounds."""

import io
import multiprocessing
import pickle
import random
import re
import struct
import sys
import tarfile
import time
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

from stages.images.sources import FileRef, Source, UnreadableFile, archive, open_archive
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


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.zst"])
def test_an_archive_that_unpacks_to_too_much(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before it has: a multiple of its size, or what any archive may unpack to."""
    if suffix == ".zip":
        path = write_zip(tmp_path / "a.zip", {"cat/1.png": bytes(10**7)}, compression=zipfile.ZIP_BZIP2)
    else:
        path = write_compressed(suffix, {"cat/1.png": bytes(10**7)}, tmp_path)
    assert len(open_at(path).list_entries()) == 1
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 10**5)
    allowed = max(10**5, archive.MAX_UNPACKED_RATIO * path.stat().st_size)
    with pytest.raises(InputError, match=rf"and unpacks to more than {allowed:,}; .* unpack it yourself"):
        open_at(path)


def test_a_member_that_claims_to_be_huge_is_no_bomb(tmp_path: Path) -> None:
    """What a damaged size claims is more than its bytes can hold: that file is left out, not the archive."""
    path = write_zip(tmp_path / "a.zip", {"1.png": b"x" * 99}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\1\2") + 24, 2**32 - 2)
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match="more than the 1,048,576 allowed"):
        open_at(path).read("1.png", max_bytes=MAX_BYTES)


def test_members_that_share_bytes(tmp_path: Path) -> None:
    """Thousands of members that are all one large one would multiply the work."""
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": bytes(99), "cat/2.png": bytes(99)})
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rindex(b"PK\1\2") + 42, 0)  # the offset of the second one
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^here: holds cat/1.png and cat/2.png in the same bytes"):
        open_at(path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cat/1\0.png", "a null byte in its name; allowed: none"),
        ("cat/" + "n" * 256, "a name of 256 characters; allowed: at most 255"),
        ("cat/" + "nn/" * 1365, "a path of 4,099 characters; allowed: at most 4,096"),
        ("d/" * 65 + "1.png", "65 folders, one in the other; allowed: at most 64"),
    ],
)
def test_a_name_that_no_file_has(name: str, found: str, tmp_path: Path) -> None:
    """No tool packs such names by accident, and unpacking the archive would fail."""
    path = write_zip(tmp_path / "a.zip", {name.replace("\0", "?"): b"x"})
    path.write_bytes(path.read_bytes().replace(b"1?.png", b"1\0.png"))
    with pytest.raises(InputError, match=re.escape(f": found {found}; re-create it with other names")):
        open_at(path)


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_the_longest_names(kind: str, tmp_path: Path) -> None:
    """What file systems allow is read, in characters: 255 in Japanese are 765 bytes."""
    names = ["日" * 255, "/".join(["n" * 255] * 16), "d/" * 64 + "1.png"]
    path = (write_zip if kind == ".zip" else write_tar)(tmp_path / f"a{kind}", dict.fromkeys(names, b"x"))
    assert list(open_at(path).list_entries()) == sorted(names)


def _write_pax(path: Path, *blocks: tuple[bytes, bytes]) -> Path:
    """Write a tar of headers of a type and their bytes, and of two empty members behind each."""
    with path.open("wb") as file:
        for number, (kind, data) in enumerate(blocks):
            info = tarfile.TarInfo("header")
            info.type, info.size = kind, len(data)
            file.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
            for place in range(2):
                file.write(tarfile.TarInfo(f"cat/{number}-{place}.png").tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))
    return path


def _record(keyword: str, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (keyword.encode(), value)
    length = len(rest) + len(str(len(rest) + len(str(len(rest)))))
    return b"%d%s" % (length, rest)


def test_pax_records_cost_as_much_as_they_are_long(tmp_path: Path) -> None:
    """Those of the whole archive are not copied for every member, nor is a long one searched twice over."""
    records = b"".join(_record(f"k{i}", b"v") for i in range(30_000))
    members = [(tarfile.XHDTYPE, _record("mtime", b"1"))] * 500
    digits = (tarfile.XHDTYPE, _record("comment", b"1" * 10**6))
    path = _write_pax(tmp_path / "a.tar", (tarfile.XGLTYPE, records), digits, *members)
    start = time.process_time()
    assert len(open_at(path).list_entries()) == 2 * 502
    assert time.process_time() - start < 1


def test_a_damaged_pax_record(tmp_path: Path) -> None:
    """It may have held the name of the member behind it, so nothing is guessed."""
    path = _write_pax(tmp_path / "a.tar", (tarfile.XHDTYPE, b"30 path=cat/1.png\n"))
    with pytest.raises(InputError, match="a pax record is damaged"):
        open_at(path)


def test_two_tars_in_one_file(tmp_path: Path) -> None:
    """Tar and tarfile stop at the end of the first, and all images of the second would be missing unseen."""
    path = write_tar(tmp_path / "a.tar", FILES)
    first = path.read_bytes()
    path.write_bytes(first + bytes(512) + first)
    with pytest.raises(InputError, match=rf"another archive follows its end, at byte {len(first) + 512}: "):
        open_at(path)
    path.write_bytes(first + b"no archive" * 100)
    assert read_all(open_at(path)) == FILES


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
