"""Image files that claim, or unpack to, far more than they hold, in every format."""

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

from tests.images.hostile import tiff
from tests.images.samples import find_segment, insert_segment, png, png_chunk, save, scan_of, scene

_MANY = 2**28
"""Bytes that a quarter of a megabyte of zlib data becomes."""


def image_bombs() -> dict[str, Callable[[], bytes]]:
    """Return what makes each file, by its name; the files take 200 MB together."""
    return _pngs() | _jpegs() | _gifs() | _webps() | _tiffs() | _jpeg_2000s() | _bmps_and_pnms() | _heifs()


@lru_cache
def _zeros(num_bytes: int) -> bytes:
    """Return a zlib stream of many zeros, without holding them."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(num_bytes // 2**20)), packer.flush()])


def _png(width: int, height: int, *chunks: bytes, bits: int = 8, color: int = 2) -> bytes:
    """Return a PNG of given chunks."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IEND", b"")


def _pngs() -> dict[str, Callable[[], bytes]]:
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(8 * 25)))

    def with_packed(kind: bytes, head: bytes) -> Callable[[], bytes]:
        return lambda: _png(8, 8, png_chunk(kind, head + _zeros(_MANY)), pixels)

    def with_frames() -> bytes:
        control = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 1, 0, 0)
        frames = png_chunk(b"fcTL", control) * 100_000
        return _png(8, 8, png_chunk(b"acTL", struct.pack(">II", 100_000, 0)), frames, pixels)

    packed = zlib.compress(bytes(8 * 25))
    return {
        "png, 65,000 x 65,000": lambda: png(65_000, 65_000, rows=bytes(100)),
        "png, 20,000 x 20,000 of 1 bit, all there": lambda: _png(
            20_000, 20_000, png_chunk(b"IDAT", _zeros(20_000 * 2501)), bits=1, color=0
        ),
        "png, 8,900 x 8,900 and no pixels": lambda: png(8900, 8900, rows=bytes(100)),
        "png, 8 x 8 and 256 MB of pixels": lambda: _png(8, 8, png_chunk(b"IDAT", _zeros(_MANY))),
        "png, a text of 256 MB": with_packed(b"zTXt", b"Comment\0\0"),
        "png, a text of 256 MB in UTF-8": with_packed(b"iTXt", b"Comment\0\1\0\0\0"),
        "png, a colour profile of 256 MB": with_packed(b"iCCP", b"x\0\0"),
        "png, 300,000 texts": lambda: _png(8, 8, png_chunk(b"tEXt", b"a\0b") * 300_000, pixels),
        "png, 300,000 empty parts": lambda: _png(8, 8, png_chunk(b"IDAT", b"") * 300_000, pixels),
        "png, a part for every byte": lambda: _png(
            8, 8, *(png_chunk(b"IDAT", packed[i : i + 1]) for i in range(len(packed)))
        ),
        "png, 100,000 frames": with_frames,
    }


def _jpegs() -> dict[str, Callable[[], bytes]]:
    def claim(jpeg: bytes, height: int, width: int) -> bytes:
        frame = next(find_segment(jpeg, marker) for marker in (0xC0, 0xC2) if bytes((0xFF, marker)) in jpeg)
        return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]

    def with_scans() -> bytes:
        whole = save(Image.new("RGB", (3000, 3000)), "JPEG", progressive=True)
        last = whole.rindex(b"\xff\xda")
        return whole[:-2] + whole[last:-2] * 2000 + whole[-2:]

    def small() -> bytes:
        return save(scene(), "JPEG")

    looped = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
    counted = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x08\0\0\0\0\0\0\0"

    def with_tables() -> bytes:
        jpeg = small()
        table = find_segment(jpeg, 0xC4)
        length = 2 + int.from_bytes(jpeg[table + 2 : table + 4], "big")
        return jpeg[:table] + jpeg[table : table + length] * 20_000 + jpeg[table:]

    return {
        "jpeg, 65,500 x 65,500": lambda: claim(small(), 65_500, 65_500),
        "jpeg, 8,900 x 8,900 and a few pixels": lambda: claim(small(), 8900, 8900),
        "jpeg, progressive, 7,000 x 7,000 and a few pixels": lambda: claim(
            save(scene(), "JPEG", progressive=True), 7000, 7000
        ),
        "jpeg, progressive, 2,000 scans of 3,000 x 3,000": with_scans,
        "jpeg, EXIF data that point to themselves": lambda: insert_segment(small(), 0xE1, looped),
        "jpeg, EXIF data of 4 thousand million numbers": lambda: insert_segment(small(), 0xE1, counted),
        "jpeg, 300,000 segments": lambda: small()[:2] + b"\xff\xe5\0\2" * 300_000 + small()[2:],
        "jpeg, 20,000 Huffman tables": with_tables,
        "jpeg, 20 MB of fill bytes": lambda: small()[:2] + b"\xff" * 20_000_000 + small()[2:],
        "jpeg, 20 MB of null bytes in its pixels": lambda: (
            (jpeg := small())[: scan_of(jpeg)[0]] + bytes(20_000_000) + jpeg[scan_of(jpeg)[0] :]
        ),
    }


def _gif(width: int, height: int, body: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff" * 3 + body


def _gif_frame(width: int, height: int, codes: bytes) -> bytes:
    blocks = b"".join(
        bytes((len(codes[i : i + 255]),)) + codes[i : i + 255] for i in range(0, len(codes), 255)
    )
    return b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + blocks + b"\0"


def _gifs() -> dict[str, Callable[[], bytes]]:
    one = _gif_frame(1, 1, b"\x44\x01")
    return {
        "gif, 65,535 x 65,535": lambda: _gif(65_535, 65_535, one + b";"),
        "gif, a frame of one pixel on 7,000 x 7,000": lambda: _gif(7000, 7000, one + b";"),
        "gif, a frame larger than its canvas": lambda: _gif(1, 1, _gif_frame(65_535, 65_535, b"\x44\x01")),
        "gif, 300,000 frames": lambda: _gif(100, 100, one * 300_000 + b";"),
        "gif, 20 MB of codes that clear the table": lambda: _gif(
            100, 100, _gif_frame(100, 100, b"\x24\x49\x92" * 7_000_000)
        ),
        "gif, 300,000 comments": lambda: _gif(1, 1, b"\x21\xfe\x01a\0" * 300_000 + one + b";"),
        "gif, comments without an end": lambda: _gif(1, 1, b"\x21\xfe" + b"\xff" + b"a" * 20_000_000),
    }


def _webp(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = b"".join(
        struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) & 1) for kind, body in chunks
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(parts), b"WEBP") + parts


def _webps() -> dict[str, Callable[[], bytes]]:
    def body_of(data: bytes) -> tuple[bytes, bytes]:
        return data[12:16], data[20 : 20 + int.from_bytes(data[16:20], "little")]

    def lossless(width: int, height: int) -> tuple[bytes, bytes]:
        kind, body = body_of(save(scene(), "WEBP", lossless=True))
        return kind, body[:1] + struct.pack("<I", (width - 1) | (height - 1) << 14) + body[5:]

    def lossy(width: int, height: int) -> tuple[bytes, bytes]:
        kind, body = body_of(save(scene(), "WEBP"))
        return kind, body[:6] + struct.pack("<HH", width, height) + body[10:]

    def canvas(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"VP8X", bytes((flags, 0, 0, 0)) + sides

    def frame(width: int, height: int) -> tuple[bytes, bytes]:
        kind, body = body_of(save(Image.new("RGB", (width, height)), "WEBP", lossless=True))
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        picture = struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) & 1)
        return b"ANMF", bytes(6) + sides + bytes(4) + picture

    def animation(width: int, height: int, count: int) -> bytes:
        return _webp(canvas(width, height, 2), (b"ANIM", bytes(6)), *[frame(8, 8)] * count)

    return {
        "webp, lossless, 16,384 x 16,384": lambda: _webp(lossless(16_384, 16_384)),
        "webp, lossless, 6,000 x 6,000 and a few pixels": lambda: _webp(lossless(6000, 6000)),
        "webp, lossy, 16,383 x 16,383": lambda: _webp(lossy(16_383, 16_383)),
        "webp, lossy, 6,000 x 6,000 and a few pixels": lambda: _webp(lossy(6000, 6000)),
        "webp, a canvas of 16 million x 16 million": lambda: animation(2**24, 2**24, 1),
        "webp, 8 x 8 on a canvas of 6,000 x 6,000, 10,000 times": lambda: animation(6000, 6000, 10_000),
        "webp, 300,000 chunks": lambda: _webp(*[(b"abcd", b"")] * 300_000, lossy(96, 80)),
        "webp, 6,000 x 6,000 of one colour": lambda: save(
            Image.new("RGB", (6000, 6000)), "WEBP", lossless=True, method=0
        ),
        "webp, transparency of 6,000 x 6,000 and a few pixels": lambda: _webp(
            canvas(6000, 6000, 16), (b"ALPH", b"\1" + bytes(50)), lossy(6000, 6000)
        ),
    }


def _strips(width: int, height: int, part: bytes, *, compression: int, count: int, tile: int = 0) -> bytes:
    """Return a TIFF of gray pixels that names one part many times, as strips of a row or as tiles."""
    start = 8 + len(part) + len(part) % 2
    where, sizes = struct.pack("<I", 8) * count, struct.pack("<I", len(part)) * count
    entries = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
    entries |= {322: tile, 323: tile} if tile else {278: 1}
    offsets_tag, bytes_tag = (324, 325) if tile else (273, 279)
    table = start + len(where) + len(sizes)
    rows = [(tag, 1, value) for tag, value in entries.items()]
    places = (start, start + len(where)) if count > 1 else (8, len(part))
    rows += [(offsets_tag, count, places[0]), (bytes_tag, count, places[1])]
    packed = b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in sorted(rows))
    head = struct.pack("<2sHI", b"II", 42, table) + part + bytes(len(part) % 2)
    return head + where + sizes + struct.pack("<H", len(rows)) + packed + bytes(4)


def _tiffs() -> dict[str, Callable[[], bytes]]:
    pixels = scene()

    def plain(**tags: tuple[int, int]) -> bytes:
        return tiff(pixels, tags={int(name[1:]): value for name, value in tags.items()})

    def with_tag(tag: int, kind: int, count: int) -> bytes:
        data = bytearray(tiff(pixels, tags={tag: (4, 8)}))
        place = data.index(struct.pack("<HHI", tag, 4, 1))
        data[place : place + 8] = struct.pack("<HHI", tag, kind, count)
        return bytes(data)

    big = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + struct.pack("<QHHQQ", 2**60, 256, 4, 2**60, 16)
    return {
        "tiff, 100,000 x 100,000": lambda: plain(_256=(4, 10**5), _257=(4, 10**5), _278=(4, 10**5)),
        "tiff, a table that is its own next": lambda: (data := plain())[:-4] + data[4:8],
        "tiff, EXIF data that are its own table": lambda: plain(_34665=(4, 8 + pixels.nbytes)),
        "tiff, 65,535 private tags": lambda: (
            plain()[:-4] + b"".join(struct.pack("<HHII", 65_000, 4, 1, 0) for _ in range(65_526)) + bytes(4)
        ).replace(struct.pack("<HHHI", 9, 256, 4, 1), struct.pack("<HHHI", 65_535, 256, 4, 1)),
        "tiff, 4 thousand million strips": lambda: with_tag(273, 4, 2**32 - 1),
        "tiff, a profile of 4 GB": lambda: with_tag(34675, 7, 2**32 - 1),
        "tiff, 2^60 tags": lambda: big,
        "tiff, 256 MB, deflated, in a strip of 64 bytes": lambda: _strips(
            64, 1, _zeros(_MANY), compression=8, count=1
        ),
        "tiff, 256 MB, deflated, named 65,536 times": lambda: _strips(
            64, 64, _zeros(_MANY), compression=8, count=65_536
        ),
        "tiff, tiles of 4,096 x 4,096 on 1 x 4,096": lambda: _strips(
            1, 4096, _zeros(2**24), compression=8, count=65_536, tile=4096
        ),
        "tiff, tiles of 4 thousand million pixels": lambda: _strips(
            64, 64, bytes(99), compression=8, count=1, tile=65_520
        ),
        "tiff, 6,000 x 6,000 of LZW and a few codes": lambda: _strips(
            6000, 6000, b"\x80\0\x20", compression=5, count=6000
        ),
        "tiff, 20 MB of PackBits that say nothing": lambda: _strips(
            64, 64, b"\x80" * 20_000_000, compression=32773, count=64
        ),
        "tiff, 20 MB of codes that clear the table": lambda: _strips(
            64, 64, b"\x80\x40\x20\x10\x08\x04\x02\x01\0" * 2_200_000, compression=5, count=64
        ),
        "tiff, 20 MB of fax data in every strip": lambda: _strips(
            64, 64, bytes(20_000_000), compression=4, count=64
        ),
    }


def _jpeg_2000s() -> dict[str, Callable[[], bytes]]:
    def replace(data: bytes, where: int, *values: int) -> bytes:
        start = data.index(b"\xff\x4f\xff\x51") + where
        new = struct.pack(f">{len(values)}I", *values)
        return data[:start] + new + data[start + len(new) :]

    def small() -> bytes:
        return save(scene(), "JPEG2000", no_jp2=True)

    def precincts() -> bytes:
        data = save(Image.new("RGB", (2000, 2000)), "JPEG2000", precinct_size=(64, 64), no_jp2=True)
        place = data.index(b"\xff\x52") + 14
        return data[:place] + b"\0" * 6 + data[place + 6 :]

    def components() -> bytes:
        data = small()
        return data[:40] + struct.pack(">H", 16_384) + b"\7\1\1" * 16_384 + data[51:]

    return {
        "jpeg 2000, 60,000 x 60,000": lambda: replace(
            replace(small(), 8, 60_000, 60_000), 24, 60_000, 60_000
        ),
        "jpeg 2000, 4,000 x 5,000 and a few pixels": lambda: replace(
            replace(small(), 8, 5000, 4000), 24, 5000, 4000
        ),
        "jpeg 2000, 16 million tiles": lambda: replace(replace(small(), 8, 4000, 4000), 24, 1, 1),
        "jpeg 2000, precincts of a pixel": precincts,
        "jpeg 2000, 16,384 channels": components,
        "jpeg 2000, 300,000 boxes": lambda: (
            (data := save(scene(), "JPEG2000"))[:32] + b"\0\0\0\x08free" * 300_000 + data[32:]
        ),
    }


def _bmps_and_pnms() -> dict[str, Callable[[], bytes]]:
    def runs(width: int, height: int, body: bytes) -> bytes:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 1, 1)
        return struct.pack("<2sIHHI", b"BM", 58 + len(body), 0, 0, 58) + head + bytes(4) + body

    rows = b"\x40\x01\0\0" * 64
    return {
        "bmp, 30,000 x 30,000": lambda: runs(30_000, 30_000, rows + b"\0\1"),
        "bmp, 7,000 x 7,000 and runs for 64 x 64": lambda: runs(7000, 7000, rows + b"\0\1"),
        "bmp, 7,000 x 7,000 and jumps over most of it": lambda: runs(
            7000, 7000, rows + b"\0\2\0\xff" * 28 + b"\0\1"
        ),
        "bmp, 20 MB of jumps to the same place": lambda: runs(64, 64, b"\0\2\0\0" * 5_000_000 + b"\0\1"),
        "bmp, a header of 4 GB": lambda: runs(64, 64, rows).replace(b"\x28\0\0\0", b"\xff" * 4, 1),
        "pnm, 99,999 x 99,999": lambda: b"P6\n99999 99999\n255\n" + bytes(99),
        "pnm, a size of 20 million digits": lambda: b"P6\n" + b"9" * 20_000_000 + b" 5\n255\n",
        "pnm, a comment of 20 MB": lambda: b"P6\n#" + b"a" * 20_000_000,
        "pnm, in text, 7,000 x 7,000 and 20 MB of spaces": lambda: (
            b"P3\n7000 7000\n255\n" + b" " * 20_000_000
        ),
        "pnm, in text, a number of 20 million digits": lambda: b"P2\n9 9\n255\n" + b"1" * 20_000_000,
    }


def _heifs() -> dict[str, Callable[[], bytes]]:
    def claim(data: bytes, width: int, height: int) -> bytes:
        """Return a file all of whose pictures claim a size."""
        place = -1
        while (place := data.find(b"ispe", place + 1)) >= 0:
            data = data[: place + 8] + struct.pack(">II", width, height) + data[place + 16 :]
        return data

    def large(kind: str) -> bytes:
        options = {"speed": 10} if kind == "AVIF" else {}
        return save(Image.new("RGB", (6000, 6000)), kind, **options)

    def with_boxes() -> bytes:
        data = save(scene(), "HEIF")
        return data[: (at := data.index(b"meta") - 4)] + b"\0\0\0\x08free" * 300_000 + data[at:]

    def in_each_other() -> bytes:
        data = b""
        for _ in range(2000):
            data = struct.pack(">I4sI", 12 + len(data), b"meta", 0) + data
        return save(scene(), "HEIF")[:28] + data

    return {
        "heic, 16,000 x 16,000": lambda: claim(save(scene(), "HEIF"), 16_000, 16_000),
        "heic, 8,000 x 8,000 and a few pixels": lambda: claim(save(scene(), "HEIF"), 8000, 8000),
        "heic, 8 x 8 that are 6,000 x 6,000": lambda: claim(large("HEIF"), 8, 8),
        "heic, 6,000 x 6,000 of one colour": lambda: large("HEIF"),
        "heic, 300,000 boxes": with_boxes,
        "heic, boxes in each other": in_each_other,
        "avif, 16,000 x 16,000": lambda: claim(save(scene(), "AVIF"), 16_000, 16_000),
        "avif, 6,000 x 6,000 and a few pixels": lambda: claim(save(scene(), "AVIF"), 6000, 6000),
        "avif, 8 x 8 that are 6,000 x 6,000": lambda: claim(large("AVIF"), 8, 8),
        "avif, 6,000 x 6,000 of one colour": lambda: large("AVIF"),
    }
