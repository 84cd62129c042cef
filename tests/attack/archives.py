"""Zip and tar archives made to be a burden: each is refused in one line, or every sound member reads."""

import bz2
import gzip
import lzma
import random
import re
import resource
import stat
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stages.images.sources import UnreadableFile, open_archive
from stages.images.sources.archive import MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO
from stages.shared.errors import InputError
from tests.attack.bounded import ROOT, call_bounded, run_bounded
from tests.faults.tally import Tally
from tests.train.project import write_params

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_FILE_BYTES = 2 * 10**8
MAX_CPU_SECONDS = 25
MAX_PEAK_MB = 700
BOMB_BYTES = 2**28

Expected = str | Mapping[str, bytes | str]
"""A pattern of the line it is refused with; or of each member that is looked at its bytes, or a pattern of
the reason why it cannot be read."""


class Case(NamedTuple):
    """An archive and what has to become of it."""

    data: Callable[[], bytes]
    expected: Expected
    suffix: str


def attack(scratch: Path, *, seed: int) -> Iterator[Tally]:
    """Yield what comes of zips, of tars, and of some of them under the real stage."""
    rng = random.Random(seed)
    sound = {f"cat/{i}.png": rng.randbytes(300) for i in range(3)}
    for kind, cases in (("zips", _zips(sound)), ("tars", _tars(sound))):
        tally = Tally(f"archives: {kind}")
        for name, case in cases.items():
            problem = _try(case, scratch)
            tally.count(not problem, f"{name}: {problem}")
        yield tally
    yield _ingest_bombs({**_zips(sound), **_tars(sound)}, scratch)


def _try(case: Case, scratch: Path) -> str:
    """Return what is wrong about reading an archive; nothing if all is well."""
    path = scratch / f"case{case.suffix}"
    path.write_bytes(case.data())
    looked_at = [] if isinstance(case.expected, str) else list(case.expected)
    outcome = call_bounded(read_members, str(path), looked_at, scratch=scratch)
    path.unlink()
    wrong = outcome.find_problem(max_cpu_seconds=MAX_CPU_SECONDS, max_peak_mb=MAX_PEAK_MB)
    if wrong or outcome.raised:
        return wrong or outcome.raised
    refusal, members = outcome.value
    if isinstance(case.expected, str):
        is_right = refusal.isprintable() and len(refusal) < 1000 and re.search(case.expected, refusal)
        return "" if is_right else f"refused with: {refusal[:300]!r}"
    for name, expected in case.expected.items():
        found = members.get(name)
        is_same = found == expected if isinstance(expected, bytes) else re.search(expected, str(found))
        if refusal or not is_same:
            return f"{name[:40]}: {str(found)[:100]} {refusal[:200]}"
    return ""


def read_members(path: str, names: list[str]) -> tuple[str, dict[str, bytes | str]]:
    """Return what an archive is refused with, and of some members the bytes or the reason; in a child."""
    # The file a compressed tar is unpacked to has no name, so that no one could measure it from outside.
    limit = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * Path(path).stat().st_size) + 10**7
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    members: dict[str, bytes | str] = {}
    try:
        source = open_archive(Path(path), place="here")
        listed = set(source.list_entries())
        for name in names:
            try:
                file = source.locate(name) if name in listed else None
                if file is not None:
                    file.read_start(100)
                members[name] = file.read(MAX_FILE_BYTES) if file else "is not listed"
            except UnreadableFile as error:
                members[name] = str(error)
    except InputError as error:
        return str(error), members
    return "", members


def _ingest_bombs(cases: Mapping[str, Case], scratch: Path) -> Tally:
    """Have the stage itself read bombs: exit status 1, a line, nothing left behind."""
    tally = Tally("archives: under ingest")
    for name in ("members that are one", "a name of 65 KB", "zeros in zst", "two in one", "cut off"):
        case, project = cases[name], scratch / name
        project.mkdir()
        (project / f"a{case.suffix}").write_bytes(case.data())
        write_params(project, dataset__source=f"a{case.suffix}")
        outcome = run_bounded(
            [sys.executable, "-m", "stages.ingest"],
            scratch=scratch,
            cwd=project,
            environment={"PYTHONPATH": str(ROOT)},
        )
        problem = outcome.find_problem(
            max_cpu_seconds=MAX_CPU_SECONDS, max_peak_mb=MAX_PEAK_MB, statuses=[1]
        ) or " ".join(outcome.left)
        lines = outcome.stderr.splitlines()
        is_clear = len(lines) == 1 and lines[0].startswith("dataset.source: a")
        tally.count(not problem and is_clear, f"{name}: {problem or outcome.stderr[:300]}")
    return tally


# Zips, byte for byte: zipfile writes none of these.


@dataclass
class _Member:
    """A member of a zip, and what its headers claim of it."""

    name: bytes
    data: bytes = b""
    method: int = 0
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    offset: int | None = None
    """Of its header, if another one's; it has none itself then."""

    mode: int = 0
    extra: bytes = b""
    comment: bytes = b""
    disk: int = 0
    packed: bytes = field(init=False)

    def __post_init__(self) -> None:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        packers: dict[int, Callable[[bytes], bytes]] = {
            8: lambda data: deflate.compress(data) + deflate.flush(),
            12: bz2.compress,
            14: lambda data: b"\x09\x04\x05\0" + _lzma_raw(data),
            93: zstd.compress,
        }
        self.packed = packers.get(self.method, bytes)(self.data)
        self.size = len(self.data) if self.size is None else self.size
        self.crc = zlib.crc32(self.data) if self.crc is None else self.crc


def _lzma_raw(data: bytes) -> bytes:
    alone = lzma.compress(data, lzma.FORMAT_ALONE)
    return alone[:5] + alone[13:]


def _zip(*members: _Member, comment: bytes = b"", **end: int) -> bytes:
    """Return an archive; `end` changes what the end of its directory claims."""
    body, directory = bytearray(), bytearray()
    for each in members:
        at = len(body) if each.offset is None else each.offset
        numbers = (20, each.flags, each.method, 0, 0, each.crc, len(each.packed), each.size)
        if each.offset is None:
            body += struct.pack("<4s5H3L2H", b"PK\3\4", *numbers, len(each.name), 0) + each.name + each.packed
        lengths = (len(each.name), len(each.extra), len(each.comment), each.disk, 0, each.mode << 16, at)
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 3 << 8, *numbers, *lengths)
        directory += each.name + each.extra + each.comment
    count = min(len(members), 0xFFFF)
    claims = {"count": count, "length": len(directory), "start": len(body), **end}
    tail = (0, 0, claims["count"], claims["count"], claims["length"], claims["start"], len(comment))
    return bytes(body + directory) + struct.pack("<4s4H2LH", b"PK\5\6", *tail) + comment


def _zips(sound: dict[str, bytes]) -> dict[str, Case]:
    good = [_Member(name.encode(), data, method=8) for name, data in sound.items()]
    zeros = bytes(10**7)

    def bomb(method: int, copies: int) -> Callable[[], bytes]:
        def write() -> bytes:
            one = _Member(b"x", zeros, method)
            several = [_Member(b"bomb/%d" % i, b"", method, size=len(zeros)) for i in range(copies)]
            for each in several:
                each.packed = one.packed
            return _zip(*good, *several)

        return write

    def odd(*members: _Member, comment: bytes = b"", **end: int) -> Callable[[], bytes]:
        return lambda: _zip(*good, *members, comment=comment, **end)

    def many(count: int, name: bytes = b"cat/many/%d.png", **claims: Any) -> Callable[[], bytes]:
        return lambda: _zip(*good, *(_Member(name % i, **claims) for i in range(count)))

    zip64 = struct.pack("<2H2Q", 1, 16, 2**62, 2**62)
    too_much, outside, damaged = "and unpacks to more than", "climbs out of the archive", "is damaged in the"
    cases: dict[str, tuple[Callable[[], bytes], Expected]] = {
        "deflated zeros": (bomb(8, 9), sound | {"bomb/0": damaged}),  # at most 1,032 times as much
        "zeros in bzip2": (bomb(12, 500), too_much),
        "zeros in lzma": (bomb(14, 300), too_much),
        "zeros in zstd": (bomb(93, 500), too_much),
        "members that are one": (many(20_000, offset=0), "in the same bytes, as zip bombs do"),
        "a member inside another": (odd(_Member(b"cat/9", b"x" * 99, offset=10)), "in the same bytes"),
        "100,000 members": (many(100_000), sound | {"cat/many/99999.png": b""}),
        "5,000 names of 4 KB": (many(5000, b"cat/%d/" + b"/".join([b"n" * 250] * 15)), sound),
        "3,000 folders of 62": (many(3000, b"cat/%d/" + b"d/" * 61 + b"1.png"), sound),
        "a zip in a zip": (odd(_Member(b"cat/in.zip", bomb(8, 11)())), sound | {"cat/in.zip": bomb(8, 11)()}),
        "a name of 65 KB": (odd(_Member(b"cat/" + b"n" * 65_000)), "a path of 65,004 characters"),
        "a null byte": (odd(_Member(b"cat/0.png\0.exe", b"x")), "a null byte in its name"),
        "backslashes": (odd(_Member(b"dog\\1.png", b"x")), sound | {"dog/1.png": b"x"}),
        "an absolute path": (odd(_Member(b"/etc/passwd")), outside),
        "a way up": (odd(_Member(b"cat/../../x.png")), outside),
        "a name twice": (odd(_Member(b"cat/0.png", b"last")), sound | {"cat/0.png": b"last"}),
        "another checksum": (odd(_Member(b"x", b"data", crc=1)), sound | {"x": damaged}),
        "encrypted": (odd(_Member(b"x", b"data", flags=1)), sound | {"x": "is encrypted"}),
        "an unknown method": (odd(_Member(b"x", b"data", method=9)), sound | {"x": "not supported"}),
        "too small a size": (odd(_Member(b"x", zeros, 8, size=9)), sound | {"x": "holds more instead of 9"}),
        "too large a size": (odd(_Member(b"x", b"1", 8, size=2**32 - 2)), sound | {"x": "more than the"}),
        "sizes of zip64": (
            odd(_Member(b"x", b"1", 8, size=2**32 - 1, extra=zip64)),
            sound | {"x": "more than"},
        ),
        "a link": (odd(_Member(b"x", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)), sound | {"x": "is a link"}),
        "another file's header": (odd(_Member(b"x", b"", offset=7)), "in the same bytes"),
        "outside the archive": (odd(_Member(b"x", b"1", offset=2**31)), "a member lies outside"),
        "a part of several": (odd(_Member(b"x", b"1", disk=3)), "one part of several"),
        "a directory elsewhere": (odd(start=2**31), "no readable zip"),
        "a directory too long": (odd(length=2**31), "no readable zip"),
        "a false count": (odd(count=1), sound),
        "comments of 65 KB": (many(300, comment=b"c" * 65_535), sound),
        "an end in the comment": (
            odd(comment=b"PK\5\6" + bytes(18) + b"x" * 9000),
            {"cat/0.png": "is not listed"},  # the last end counts, as for zipfile, and it says: empty
        ),
        "16,000 extra fields": (many(100, extra=struct.pack("<2H", 9, 0) * 16_000), sound),
        "bytes that are not UTF-8": (odd(_Member(b"\xff", flags=0x800)), "no readable zip"),
    }
    return {name: Case(*case, ".zip") for name, case in cases.items()}


# Tars.


def _header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info.tobuf(tarfile.GNU_FORMAT)


def _block(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return _header(name, kind, len(data)) + data + bytes(-len(data) % 512)


def _records(keywords: Iterator[str], value: str) -> bytes:
    found = []
    for keyword in keywords:
        rest = f" {keyword}={value}\n"
        length = len(rest) + len(str(len(rest) + len(str(len(rest)))))
        found.append(f"{length}{rest}")
    return "".join(found).encode()


def _sparse_chain(num_blocks: int) -> bytes:
    """Return a sparse member of GNU tar whose map goes on for many blocks."""
    header = bytearray(_header("cat/sparse.png", tarfile.GNUTYPE_SPARSE))
    header[482] = 1  # the map goes on
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = (b"%011o\0" % 1) * 42 + b"\1" + bytes(7)
    return bytes(header) + more * (num_blocks - 1) + bytes(512)


def _zeros(start: bytes, compress: Callable[[], Any]) -> Callable[[], bytes]:
    """Return what writes zeros behind some bytes, compressed piece by piece."""

    def write() -> bytes:
        compressor = compress()
        pieces = [compressor.compress(start)]
        pieces += [compressor.compress(bytes(2**24)) for _ in range(BOMB_BYTES // 2**24)]
        return b"".join([*pieces, compressor.flush()])

    return write


def _tars(sound: dict[str, bytes]) -> dict[str, Case]:
    good = b"".join(_block(name, data) for name, data in sound.items())
    end = bytes(1024)

    def odd(*blocks: bytes) -> Callable[[], bytes]:
        return lambda: good + b"".join(blocks) + end

    def many(count: int, name: str = "cat/many/{}.png") -> Callable[[], bytes]:
        return lambda: good + b"".join(_block(name.format(i), b"") for i in range(count)) + end

    def pax(data: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
        return _block("pax", data, kind) + _header("cat/x.png")

    start = good + _header("cat/bomb.png", size=BOMB_BYTES)
    too_much, outside, damaged = "and unpacks to more than", "climbs out of the archive", "no readable tar"
    left_out = "is a link, sparse or no file"
    hard = (
        _header(name, tarfile.LNKTYPE, target=other) for name, other in (("a", "b"), ("b", "a"), ("c", "c"))
    )
    kinds = {"l": tarfile.SYMTYPE, "d": tarfile.CHRTYPE, "p": tarfile.FIFOTYPE}
    special = (_header(name, kind, target="/etc/passwd") for name, kind in kinds.items())
    global_records = pax(_records((f"k{i}" for i in range(50_000)), "v"), tarfile.XGLTYPE)
    local_records = pax(_records((f"k{i}" for i in range(60_000)), ""))
    map_records = _records(iter(["GNU.sparse.major"]), "1") + _records(iter(["GNU.sparse.minor"]), "0")
    no_dictionary = lzma.compress(good + end, lzma.FORMAT_ALONE)
    cases: dict[str, tuple[Callable[[], bytes], Expected, str]] = {
        "zeros in zst": (_zeros(start, zstd.ZstdCompressor), too_much, ".tar.zst"),
        "zeros in gz": (  # at most 1,032 times as much
            _zeros(start, lambda: zlib.compressobj(wbits=31)),
            f"{too_much}|{damaged}",
            ".tar.gz",
        ),
        "zeros in bz2": (_zeros(start, bz2.BZ2Compressor), too_much, ".tar.bz2"),
        "zeros in xz": (_zeros(start, lambda: lzma.LZMACompressor(preset=0)), too_much, ".tar.xz"),
        "many names in zst": (
            lambda: zstd.compress(many(180_000)()),
            sound | {"cat/many/7.png": b""},
            ".tar.zst",
        ),
        "a dictionary of 4 GiB": (
            lambda: no_dictionary[:1] + b"\xff" * 4 + no_dictionary[5:],
            sound,
            ".tar.xz",
        ),
        "100,000 empty parts in gz": (
            lambda: gzip.compress(b"") * 100_000 + gzip.compress(good + end),
            sound,
            ".tgz",
        ),
        "50,000 records for all": (
            lambda: global_records + b"".join(_header(f"cat/{i}") for i in range(2000)) + good + end,
            sound,
            ".tar",
        ),
        "60,000 records, 20 times": (odd(local_records * 20), sound | {"cat/x.png": b""}, ".tar"),
        "a record of digits": (odd(pax(_records(iter(["comment"]), "1" * 10**6))), sound, ".tar"),
        "a record of other length": (odd(pax(b"99 path=cat/x.png\n")), "a pax record is damaged", ".tar"),
        "a record of negative size": (odd(pax(_records(iter(["size"]), "-4096"))), damaged, ".tar"),
        "a null byte": (odd(pax(_records(iter(["path"]), "cat/\0x"))), "a null byte in its name", ".tar"),
        "a long name of 100 MB": (odd(_header("x", tarfile.GNUTYPE_LONGNAME, 10**8)), damaged, ".tar"),
        "a long name of 65 KB": (
            odd(_block("x", b"n" * 65_000, tarfile.GNUTYPE_LONGNAME), _header("x")),
            "a path of 65,000 characters",
            ".tar",
        ),
        "long names of long names": (
            odd(_block("x", b"n" * 2**17, tarfile.GNUTYPE_LONGNAME) * 3000),
            damaged,
            ".tar",
        ),
        "a negative size": (odd(_header("cat/x.png", size=-1024)), damaged, ".tar"),
        "cut off": (lambda: good[:-512], damaged, ".tar"),
        "another checksum": (odd(b"x" + _header("cat/x.png")[1:]), "bad header", ".tar"),
        "two in one": (lambda: (good + end) * 2, "another archive follows its end", ".tar"),
        "a sparse map of 20 MB": (odd(_sparse_chain(40_000)), sound | {"cat/sparse.png": left_out}, ".tar"),
        "a sparse map of 10^9 numbers": (
            odd(
                _block("pax", map_records, tarfile.XHDTYPE), _block("cat/s", b"999999999\n" + b"1\n" * 2**23)
            ),
            sound | {"cat/s": left_out},
            ".tar",
        ),
        "hard links in a circle": (odd(*hard), sound | dict.fromkeys("abc", left_out), ".tar"),
        "links, devices and pipes": (odd(*special), sound | dict.fromkeys(kinds, left_out), ".tar"),
        "an absolute path": (odd(_header("/etc/passwd")), outside, ".tar"),
        "a way up": (odd(_header("cat/../../x")), outside, ".tar"),
        "a name twice": (odd(_block("cat/0.png", b"last")), sound | {"cat/0.png": b"last"}, ".tar"),
        "65 folders in each other": (odd(_header("d/" * 65 + "x")), "65 folders", ".tar"),
    }
    return {name: Case(*case) for name, case in cases.items()}
