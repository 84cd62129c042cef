"""Damaged and odd files of every format, each with what has to become of it."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.images.samples import (
    HEIGHT_PX,
    WIDTH_PX,
    find_segment,
    insert_segment,
    png,
    png_chunk,
    save,
    scan_of,
    scene,
    whole_files,
)

CUT = r"^is cut off: "
DAMAGED = r"^is damaged: "
BROKEN = r"^is (cut off|damaged): "


@dataclass(frozen=True)
class Case:
    """One file."""

    data: bytes
    reason: str = ""
    """A regular expression for why it is refused; empty if it is not."""

    like: str = ""
    """The whole file it has to look like, pixel for pixel."""


def hostile_files() -> dict[str, Case]:
    """Return every case by its name."""
    whole = whole_files()
    return (
        _cuts(whole)
        | _odd_jpegs(whole["jpeg"])
        | _damaged_jpegs(whole)
        | _pngs(whole["png"])
        | _bmps(whole["bmp"])
        | _webps(whole)
        | _gifs(whole["gif"])
        | _tiffs(whole)
        | _jpeg_2000s(whole["jpeg 2000"])
        | _pnms(whole["ppm"])
        | _no_images(whole["jpeg"])
    )


def _cuts(whole: dict[str, bytes]) -> dict[str, Case]:
    """Return every whole file cut off at four places; a PNM in text has no mark of its end."""
    return {
        f"{name}, cut to {percent} %": Case(data[: max(13, len(data) * percent // 100)], BROKEN)
        for name, data in whole.items()
        if name not in ("tiff pages", "gif animated")  # the first page or frame may be all there
        for percent in (1, 40, 80, 99)
    }


def _replace(data: bytes, start: int, new: bytes) -> bytes:
    return data[:start] + new + data[start + len(new) :]


def _odd_jpegs(jpeg: bytes) -> dict[str, Case]:
    """Return JPEGs that cameras, phones and web sites make, and that have to be taken."""
    start, end = scan_of(jpeg)
    scan, frame, quantization = (find_segment(jpeg, marker) for marker in (0xDA, 0xC0, 0xDB))
    tables = find_segment(jpeg, 0xC4)
    bad_icc = b"ICC_PROFILE\0\x05\x02" + bytes(40)
    odd = {
        "rubbish behind the end": jpeg + b"rubbish" * 30,
        "null bytes behind the end": jpeg + bytes(5000),
        "a second picture behind the end": jpeg + jpeg,
        "half a second picture behind the end": jpeg + jpeg[:300],
        "an MPF index and a second picture": insert_segment(jpeg, 0xE2, b"MPF\0MM\0*\0\0\0\x08") + jpeg,
        "fill bytes before markers": jpeg[:2] + b"\xff\xff" + jpeg[2:frame] + b"\xff" * 9 + jpeg[frame:],
        "fill bytes before the end": jpeg[:end] + b"\xff\xff\xff" + jpeg[end:],
        "null bytes between segments": jpeg[:quantization] + bytes(5) + jpeg[quantization:],
        "null bytes before the end": jpeg[:end] + bytes(64) + jpeg[end:],
        "a thumbnail in its EXIF data": insert_segment(
            jpeg, 0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + jpeg
        ),
        "EXIF data that points outside itself": insert_segment(jpeg, 0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xf0"),
        "EXIF data that loops": insert_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0"),
        "an empty comment": insert_segment(jpeg, 0xFE, b""),
        "an unknown segment": insert_segment(jpeg, 0xEF, b"\xff\xd9\xff\xda"),
        "an unknown JFIF revision": _replace(jpeg, 11, b"\x09\x09"),
        "no JFIF header": jpeg[:2] + jpeg[20:],
        "a broken colour profile": insert_segment(jpeg, 0xE2, bad_icc),
        "Adobe's mark of YCbCr": insert_segment(jpeg, 0xEE, b"Adobe\0\x64\0\0\0\0\x01"),
        "a restart interval of nought": insert_segment(jpeg, 0xDD, b"\0\0"),
        "a restart interval larger than it": insert_segment(jpeg, 0xDD, b"\xff\xff"),
        "scan parameters of nought": _replace(jpeg, start - 3, b"\0\0\0"),
        "no Huffman tables, as in motion JPEG": jpeg[:tables] + jpeg[scan:],
    }
    return {f"jpeg, {name}": Case(data, like="jpeg") for name, data in odd.items()}


def _damaged_jpegs(whole: dict[str, bytes]) -> dict[str, Case]:
    """Return JPEGs of which decoders make a picture all the same, and others."""
    jpeg, progressive, restart = (whole[f"jpeg{kind}"] for kind in ("", " progressive", " restart 7"))
    start, end = scan_of(jpeg)
    frame, scan = find_segment(jpeg, 0xC0), find_segment(jpeg, 0xDA)
    quantization, tables = find_segment(jpeg, 0xDB), find_segment(jpeg, 0xC4)
    middle = (start + end) // 2
    if jpeg[middle - 1] == 0xFF:
        middle += 1
    second, third = restart.index(b"\xff\xd1"), restart.index(b"\xff\xd2")
    last_scan = progressive.rindex(b"\xff\xda")
    last_table = progressive.rindex(b"\xff\xc4", 0, last_scan)
    noise = np.random.default_rng(0).integers(0, 255, 80, dtype=np.uint8).tobytes()
    size = frame + 5
    enormous = "^claims 65,500 x 65,500 pixels, more than"
    return {
        f"jpeg, {name}": Case(data, reason)
        for name, (data, reason) in {
            "no end marker": (jpeg[:-2], CUT),
            "half an end marker": (jpeg[:-1], CUT),
            "early end marker": (jpeg[:middle] + jpeg[-2:], CUT),
            "early end marker and the rest": (jpeg[:middle] + jpeg[-2:] + jpeg[middle:], CUT),
            "late end marker": (jpeg[: end - 40] + jpeg[end:], CUT),
            "tables only": (jpeg[:scan] + b"\xff\xd9", CUT),
            "a scan without pixels": (jpeg[:start] + b"\xff\xd9", BROKEN),
            "a hole of null bytes": (jpeg[:middle] + bytes(200) + jpeg[middle + 200 :], BROKEN),
            "a hole that was closed": (jpeg[:middle] + jpeg[middle + 200 :], BROKEN),
            "noise in its pixels": (_replace(jpeg, middle, noise), BROKEN),
            "rubbish before the end": (jpeg[:end] + noise + jpeg[end:], DAMAGED),
            "rubbish between segments": (jpeg[:frame] + b"rubbish" + jpeg[frame:], DAMAGED),
            "a restart marker lost": (restart[:second] + restart[second + 2 :], BROKEN),
            "restart markers swapped": (
                _replace(_replace(restart, second, b"\xff\xd2"), third, b"\xff\xd1"),
                BROKEN,
            ),
            "a part between restart markers lost": (restart[:second] + restart[third:], BROKEN),
            "progressive, last scan lost": (progressive[:last_table] + b"\xff\xd9", CUT),
            "progressive, most scans lost": (
                progressive[: progressive.index(b"\xff\xc4", progressive.index(b"\xff\xda"))] + b"\xff\xd9",
                CUT,
            ),
            "progressive, early end marker": (progressive[: last_scan + 80] + b"\xff\xd9", BROKEN),
            "no height": (_replace(jpeg, size, b"\0\0"), DAMAGED),
            "no width": (_replace(jpeg, size + 2, b"\0\0"), DAMAGED),
            "twice the height": (_replace(jpeg, size, struct.pack(">H", 2 * HEIGHT_PX)), BROKEN),
            "enormous": (_replace(jpeg, size, struct.pack(">HH", 65500, 65500)), enormous),
            "12 bits": (_replace(jpeg, frame + 4, b"\x0c"), "12 bits a channel"),
            "lossless": (_replace(jpeg, frame + 1, b"\xc3"), "lossless"),
            "two channels": (_replace(jpeg, frame + 9, b"\x02"), DAMAGED),
            "no channels": (_replace(jpeg, frame + 9, b"\x00"), DAMAGED),
            "two frame headers": (jpeg[:frame] + jpeg[frame:tables] + jpeg[frame:], DAMAGED),
            "no frame header": (jpeg[:frame] + jpeg[tables:], BROKEN),
            "two codes for one value": (
                _replace(jpeg, tables + 21, jpeg[tables + 22 : tables + 23]),
                DAMAGED,
            ),
            "a hole of 20 null bytes": (_replace(jpeg, middle, bytes(20)), BROKEN),
            "no quantization tables": (jpeg[:quantization] + jpeg[frame:], DAMAGED),
            "a Huffman table of 17,000 codes": (_replace(jpeg, tables + 5, b"\xff" * 16), DAMAGED),
            "a segment without a length": (_replace(jpeg, quantization + 2, b"\0\0"), BROKEN),
            "a segment longer than the file": (_replace(jpeg, quantization + 2, b"\xff\xff"), BROKEN),
            "start marker only": (jpeg[:3], CUT),
            "start and end": (b"\xff\xd8\xff\xd9", CUT),
            "text behind its first bytes": (b"\xff\xd8\xff" + b"hello, world " * 20, BROKEN),
        }.items()
    }


def _pngs(data: bytes) -> dict[str, Case]:
    """Return odd and damaged PNGs."""
    pixels = scene()
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = data.index(b"IDAT") - 4
    packed = zlib.compress(rows)
    split = b"".join(png_chunk(b"IDAT", packed[i : i + 100]) for i in range(0, len(packed), 100))
    head, end = data[:33], png_chunk(b"IEND", b"")
    bad_text = png_chunk(b"tEXt", b"a\0b")[:-4] + bytes(4)
    taken = {
        "rubbish behind the end": data + b"rubbish",
        "a text with a wrong checksum": data[:33] + bad_text + data[33:],
        "an unknown part": data[:33] + png_chunk(b"zzZz", bytes(99)) + data[33:],
        "pixels in many parts": head + split + end,
        "an empty part of pixels": data[:body] + png_chunk(b"IDAT", b"") + data[body:],
        "a broken colour profile": data[:33] + png_chunk(b"iCCP", b"x\0\0" + bytes(9)) + data[33:],
        "interlaced": _interlaced(),
        "animated": save(
            Image.fromarray(pixels), "PNG", save_all=True, append_images=[Image.fromarray(pixels[::-1])]
        ),
    }
    wrong = bytearray(data)
    wrong[body + 60] ^= 1
    refused = {
        "a flipped bit": (bytes(wrong), "bad header checksum in b'IDAT'"),
        "a flipped size": (_replace(data, 19, b"\x61"), "bad header checksum in b'IHDR'"),
        "no end": (data[:-12], CUT),
        "no pixels": (head + end, DAMAGED),
        "no header": (data[:8] + data[33:], DAMAGED),
        "no width": (png(0, 4, rows=bytes(4)), DAMAGED),
        "enormous": (png(65_000, 65_000, rows=bytes(100)), "^claims 65,000 x 65,000 pixels"),
        "a bomb": (
            png(20_000, 20_000, bits=1, color=0, rows=bytes(20_000 * 2_501)),
            "^claims 20,000 x 20,000 pixels, more than",
        ),
        "half the rows": (png(WIDTH_PX, HEIGHT_PX, rows=rows[: len(rows) // 2]), DAMAGED),
        "all but one byte": (png(WIDTH_PX, HEIGHT_PX, rows=rows[:-1]), DAMAGED),
        "an unknown filter": (png(WIDTH_PX, HEIGHT_PX, rows=b"\x09" + rows[1:]), DAMAGED),
        "colour type 5": (png(WIDTH_PX, HEIGHT_PX, color=5, rows=rows), DAMAGED),
        "3 bits": (png(WIDTH_PX, HEIGHT_PX, bits=3, rows=rows), DAMAGED),
        "a palette lost": (
            png(WIDTH_PX, HEIGHT_PX, color=3, rows=bytes(HEIGHT_PX * (WIDTH_PX + 1))),
            DAMAGED,
        ),
        "pixels that are not packed": (head + png_chunk(b"IDAT", rows) + end, DAMAGED),
        "a part of 2 GB": (_replace(data, body, b"\x7f\xff\xff\xff"), CUT),
        "first bytes only": (data[:8], CUT),
        "line ends changed by an upload": (data.replace(b"\r\n", b"\n"), "is no image of a known kind"),
    }
    return {f"png, {name}": Case(file, like="png") for name, file in taken.items()} | {
        f"png, {name}": Case(file, reason) for name, (file, reason) in refused.items()
    }


def _interlaced() -> bytes:
    """Return the scene as an interlaced PNG, which Pillow does not write."""
    pixels = scene()
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right]
    )
    header = struct.pack(">IIBBBBB", WIDTH_PX, HEIGHT_PX, 8, 2, 0, 0, 1)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _bmps(data: bytes) -> dict[str, Case]:
    """Return odd and damaged BMPs."""
    rows = np.frombuffer(data, np.uint8, HEIGHT_PX * WIDTH_PX * 3, 54).reshape(HEIGHT_PX, -1)
    top_down = _replace(data, 22, struct.pack("<i", -HEIGHT_PX))[:54] + rows[::-1].tobytes()
    core = struct.pack("<2sIHHIIHHHH", b"BM", 0, 0, 0, 26, 12, WIDTH_PX, HEIGHT_PX, 1, 24) + data[54:]
    refused = {
        "no width": (_replace(data, 18, bytes(4)), DAMAGED),
        "a negative width": (_replace(data, 18, struct.pack("<i", -5)), "^claims 4,294,967,291 x 80"),
        "7 bits": (_replace(data, 28, b"\x07"), DAMAGED),
        "enormous": (_replace(data, 18, struct.pack("<ii", 60_000, 60_000)), "^claims 60,000 x 60,000"),
        "the largest numbers": (_replace(data, 18, b"\xff\xff\xff\x7f" * 2), "^claims 2,147,483,647 x"),
        "a header of 5 bytes": (_replace(data, 14, b"\x05"), DAMAGED),
        "a header of 4 GB": (_replace(data, 14, b"\xff" * 4), CUT),
        "pixels outside the file": (_replace(data, 10, struct.pack("<I", 2**31)), CUT),
        "a JPEG within": (_replace(data, 30, b"\x04"), DAMAGED),
        "an unknown compression": (_replace(data, 30, b"\x63"), DAMAGED),
        "first bytes only": (data[:2], CUT),
    }
    return {
        "bmp, stored from the top": Case(top_down, like="bmp"),
        "bmp, of OS/2": Case(core, like="bmp"),
        "bmp, rubbish behind the end": Case(data + b"rubbish", like="bmp"),
    } | {f"bmp, {name}": Case(file, reason) for name, (file, reason) in refused.items()}


def _webps(whole: dict[str, bytes]) -> dict[str, Case]:
    """Return odd and damaged WebPs."""
    lossy, lossless, extended = whole["webp"], whole["webp lossless"], whole["webp exif"]
    refused = {
        "a length too large": (_replace(lossy, 4, struct.pack("<I", len(lossy))), BROKEN),
        "a part too long": (_replace(lossy, 16, struct.pack("<I", len(lossy))), BROKEN),
        "no start code": (_replace(lossy, 23, bytes(3)), DAMAGED),
        "a partition too long": (_replace(lossy, 20, b"\xf0\xff\xff"), BROKEN),
        "a lossless one without its signature": (_replace(lossless, 20, b"\0"), DAMAGED),
        "no picture": (b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(10), DAMAGED),
        "a canvas of another size": (_replace(extended, 24, b"\x07\0\0"), DAMAGED),
        "an enormous canvas": (
            _replace(extended, 24, b"\xff\xff\x00\xff\xff\x00"),
            DAMAGED,
        ),
        "null bytes to its end": (_replace(lossy, 800, bytes(len(lossy) - 800)), BROKEN),
        "null bytes in its pixels": (_replace(lossy, 800, bytes(100)), BROKEN),
        "noise in its pixels": (_replace(lossy, 800, b"\x99\xfe\x13\x77" * 9), BROKEN),
        "first bytes only": (lossy[:12], BROKEN),
    }
    return {"webp, rubbish behind the end": Case(lossy + b"rubbish", like="webp")} | {
        f"webp, {name}": Case(file, reason) for name, (file, reason) in refused.items()
    }


def _gifs(data: bytes) -> dict[str, Case]:
    """Return odd and damaged GIFs."""
    palette = 13 + (3 << (data[10] & 7) + 1)
    image = data.index(b"\x2c", palette)
    note = b"\x21\xfe\x05hello\0"
    refused = {
        "no picture": (data[:palette] + b"\x3b", DAMAGED),
        "a frame without a width": (_replace(data, image + 5, b"\0\0"), DAMAGED),
        "a code size of 99": (_replace(data, image + 10, b"\x63"), DAMAGED),
        "noise in its pixels": (_replace(data, image + 300, b"\x99\xfe\x13\x77" * 8), DAMAGED),
        "a hole that was closed": (data[: image + 268] + data[image + 268 + 256 :], DAMAGED),
        "enormous": (_replace(data, 6, b"\xff" * 4), "claims 65,535 x 65,535 pixels, more than"),
    }
    return {
        # Pillow stops at the end of the first frame and skips what it does not know before it.
        "gif, no end mark": Case(data[:-1], like="gif"),
        "gif, an unknown block": Case(data[:image] + b"\x77" + data[image:], like="gif"),
        "gif, rubbish behind the end": Case(data + b"rubbish", like="gif"),
        "gif, a comment": Case(data[:image] + note + data[image:], like="gif"),
        "gif, a background that is not in the palette": Case(_replace(data, 11, b"\xff"), like="gif"),
    } | {f"gif, {name}": Case(file, reason) for name, (file, reason) in refused.items()}


def tiff(
    pixels: npt.NDArray[np.unsignedinteger[Any]],
    *,
    order: str = "<",
    tags: dict[int, tuple[int, int]] | None = None,
) -> bytes:
    """Return an uncompressed TIFF of pixels (height, width, 3); tags (kind, value) replace its own."""
    height, width = pixels.shape[:2]
    start = 8 + pixels.nbytes
    entries = {
        256: (4, width),
        257: (4, height),
        258: (3, 8),
        259: (3, 1),
        262: (3, 2),
        273: (4, 8),
        277: (3, 3),
        278: (4, height),
        279: (4, pixels.nbytes),
    } | (tags or {})
    table = struct.pack(f"{order}H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        number = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", value)
        table += struct.pack(f"{order}HHI", tag, kind, 1) + number
    magic = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    return magic + pixels.tobytes() + table + bytes(4)


def _tiffs(whole: dict[str, bytes]) -> dict[str, Case]:
    """Return odd and damaged TIFFs."""
    pixels = scene()
    plain = tiff(pixels)
    floats = save(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF")
    taken = {
        "least byte first": plain,
        "most byte first": tiff(pixels, order=">"),
        "rubbish behind the end": plain + b"rubbish",
        "a next page that is this page": plain[:-4] + plain[4:8],
        "a next page outside the file": plain[:-4] + b"\xff\xff\xff\x7f",
        "a table of 65,535 tags, of which nine are there": _replace(plain, len(plain) - 114, b"\xff\xff"),
        "an unknown tag": tiff(pixels, tags={40_000: (4, 7)}),
        "no lengths of its strips": tiff(pixels, tags={279: (4, 0)}),
    }
    lzw, deflated, jpeg = whole["tiff lzw"], whole["tiff deflate"], whole["tiff jpeg"]
    fax, packbits = whole["tiff group 4"], whole["tiff packbits"]
    private = dict.fromkeys(range(65000, 65080), 7)
    many_tags = save(Image.fromarray(pixels), "TIFF", compression="tiff_lzw", tiffinfo=private)
    refused = {
        "a page outside the file": (_replace(plain, 4, b"\xff\xff\xff\x7f"), BROKEN),
        "no width": (tiff(pixels, tags={256: (4, 0)}), DAMAGED),
        "enormous": (
            tiff(pixels, tags={256: (4, 10**5), 257: (4, 10**5), 278: (4, 10**5)}),
            "^claims 100,000 x 100,000",
        ),
        "the largest numbers": (tiff(pixels, tags={256: (4, 2**32 - 1), 257: (4, 2**32 - 1)}), DAMAGED),
        "pixels outside the file": (tiff(pixels, tags={273: (4, 2**31)}), CUT),
        "pixels that end outside the file": (tiff(pixels, tags={273: (4, 2000)}), CUT),
        "too few strips": (tiff(pixels, tags={278: (4, 8)}), DAMAGED),
        "tiles of 4 thousand million pixels": (
            tiff(pixels, tags={322: (4, 65_520), 323: (4, 65_520), 324: (4, 8), 325: (4, 100)}),
            DAMAGED,
        ),
        "32 bits": (tiff(pixels, tags={258: (3, 32)}), "unsupported kind of TIFF"),
        "floating point": (floats, "floating point or signed"),
        "signed numbers": (tiff(pixels, tags={339: (3, 2)}), "unsupported kind of TIFF"),
        "a preview": (tiff(pixels, tags={254: (4, 1)}), "preview"),
        "a raw file (DNG)": (tiff(pixels, tags={50706: (4, 1)}), "raw file"),
        "a raw file (CR2)": (_replace(plain, 8, b"CR\x02\0"), "raw file"),
        "an unknown compression": (tiff(pixels, tags={259: (3, 999)}), DAMAGED),
        "noise in LZW": (_replace(lzw, 2000, b"\x99\xfe\x13\x77" * 9), DAMAGED),
        "noise in LZW, and 80 private tags": (_replace(many_tags, 3000, b"\x99\xfe\x13\x77" * 9), DAMAGED),
        "a flipped bit in deflate": (_replace(deflated, 3000, bytes((deflated[3000] ^ 1,))), DAMAGED),
        "noise in fax data": (_replace(fax, 200, b"\x99\xfe\x13\x77" * 3), DAMAGED),
        "null bytes in fax data": (_replace(fax, 200, bytes(20)), DAMAGED),
        "null bytes in PackBits": (_replace(packbits, 2000, bytes(150)), DAMAGED),
        "noise in deflate": (_replace(deflated, 2000, b"\x99\xfe\x13\x77" * 9), DAMAGED),
        "an early end marker in JPEG": (_replace(jpeg, len(jpeg) // 2, b"\xff\xd9"), BROKEN),
        "first bytes only": (plain[:4], BROKEN),
    }
    return {f"tiff, {name}": Case(file, like="tiff") for name, file in taken.items()} | {
        f"tiff, {name}": Case(file, reason) for name, (file, reason) in refused.items()
    }


def _jpeg_2000s(data: bytes) -> dict[str, Case]:
    """Return odd and damaged JPEG 2000 files."""
    size = data.index(b"\xff\x4f\xff\x51") + 8
    big = struct.pack(">II", 60_000, 60_000)
    refused = {
        "enormous": (_replace(_replace(data, size, big), size + 16, big), DAMAGED),
        "tiles missing": (_replace(data, size + 16, struct.pack(">II", 32, 32)), "of 9 tiles it has 1"),
        "no tiles": (_replace(data, size + 16, bytes(8)), DAMAGED),
        "no channels": (_replace(data, size + 32, bytes(2)), DAMAGED),
        "500 channels": (_replace(data, size + 32, b"\x01\xf4"), DAMAGED),
        "no end mark": (data[:-2], BROKEN),
        "first bytes only": (data[:12], BROKEN),
        "a box of one byte": (_replace(data, 12, b"\0\0\0\x01"), BROKEN),
    }
    return {"jpeg 2000, rubbish behind the end": Case(data + b"rubbish", like="jpeg 2000")} | {
        f"jpeg 2000, {name}": Case(file, reason) for name, (file, reason) in refused.items()
    }


def _pnms(data: bytes) -> dict[str, Case]:
    """Return odd and damaged PNMs."""
    pixels = scene()
    size = b"%d %d" % (WIDTH_PX, HEIGHT_PX)
    text = b"P3\n" + size + b"\n255\n" + b" ".join(b"%d" % value for value in pixels.ravel()) + b"\n"
    refused = {
        "no size": (b"P6\nhello", DAMAGED),
        "no width": (b"P6\n0 5\n255\n" + bytes(99), DAMAGED),
        "a highest value of nought": (b"P6\n" + size + b"\n0\n" + bytes(30_000), DAMAGED),
        "a highest value of 70,000": (b"P6\n" + size + b"\n70000\n" + bytes(30_000), DAMAGED),
        "enormous": (b"P6\n99999 99999\n255\n" + bytes(99), "^claims 99,999 x 99,999"),
        "a size of a thousand digits": (b"P6\n" + b"9" * 1000 + b" 5\n255\n" + bytes(99), BROKEN),
        "in text, cut off": (text[: len(text) // 3], BROKEN),
    }
    return {
        "pnm, in text": Case(text, like="ppm"),
        "pnm, a comment": Case(data.replace(b"P6\n", b"P6\n# hello\n", 1), like="ppm"),
        "pnm, rubbish behind the end": Case(data + b"rubbish", like="ppm"),
    } | {f"pnm, {name}": Case(file, reason) for name, (file, reason) in refused.items()}


def _no_images(jpeg: bytes) -> dict[str, Case]:
    """Return what people's folders hold besides."""
    names = {
        "an empty file": (b"", "^the file is empty$"),
        "null bytes": (bytes(5000), "nothing but null bytes"),
        "text": (b"hello, world\n", "^is text;"),
        "text in UTF-8": ("Füße\n".encode() * 400, "^is text;"),
        "JSON": (b'{"error": "no such image"}', r"^is text \(JSON\)"),
        "a web page": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "XML": (b"<?xml version='1.0'?><annotation/>", "XML"),
        "PDF": (b"%PDF-1.7\n", "PDF"),
        "zip": (b"PK\x03\x04" + bytes(30), "zip"),
        "gzip": (b"\x1f\x8b\x08" + bytes(30), "gzip"),
        "a camera's raw file": (b"\0\0\0\x18ftypcrx " + bytes(30), "camera's raw file"),
        "a video": (b"\0\0\0\x18ftypisom" + bytes(30), "video"),
        "another video": (b"\x1aE\xdf\xa3" + bytes(30), "video"),
        "sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), "sound"),
        "an icon": (save(Image.fromarray(scene()), "ICO"), "icon"),
        "Photoshop": (b"8BPS\0\x01" + bytes(30), "Photoshop"),
        "JPEG XL": (b"\xff\x0a" + bytes(30), "JPEG XL"),
        "OpenEXR": (b"v/1\x01" + bytes(30), "OpenEXR"),
        "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        "rubbish": (np.random.default_rng(0).bytes(500), "no image of a known kind"),
        "a JPEG behind one byte": (b"\n" + jpeg, "no image of a known kind"),
    }
    return {name: Case(data, reason) for name, (data, reason) in names.items()}
