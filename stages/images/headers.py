"""What an image file is by its first bytes, and what its header claims by Pillow, before anything is decoded.

The file's name is ignored. This module hides which of Pillow's readers takes which format, how they say that
a file is damaged (they raise nearly anything), and the damage that they miss.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from stages.images.to_rgb import MODES, WIDE_MODES
from stages.shared.errors import printable

warnings.filterwarnings("ignore", module=r"PIL\.")
"""Pillow warns of odd metadata, which is ignored here."""

PngImagePlugin.MAX_TEXT_CHUNK = 2**26
"""Pillow refuses a PNG for more than 1 MB of compressed text or colour profile, which are ignored here."""

JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_CODESTREAM = b"\xff\x4f\xff\x51"

_FORMATS: dict[bytes, tuple[str, type[ImageFile.ImageFile]]] = {
    _PNG: ("PNG", PngImagePlugin.PngImageFile),
    b"GIF87a": ("GIF", GifImagePlugin.GifImageFile),
    b"GIF89a": ("GIF", GifImagePlugin.GifImageFile),
    b"BM": ("BMP", BmpImagePlugin.BmpImageFile),
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), ("TIFF", TiffImagePlugin.TiffImageFile)),
    **dict.fromkeys(
        (b"\0\0\0\x0cjP  \r\n\x87\n", _CODESTREAM), ("JPEG 2000", Jpeg2KImagePlugin.Jpeg2KImageFile)
    ),
    **{
        b"P%d" % kind + gap: ("PNM", PpmImagePlugin.PpmImageFile)
        for kind in range(1, 7)
        for gap in (b"\n", b" ", b"\r", b"\t", b"#")
    },
}

_PLAIN_CHUNKS = frozenset(
    (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"pHYs", b"tEXt", b"tIME", b"gAMA", b"cHRM", b"sRGB")
)
"""Of PNGs that OpenCV decodes rightly and without a warning."""

_MOST_INFLATED = 1032
"""Bytes that one byte of a zlib stream can become."""

_BYTES_PER_PIXEL = {"PNG": 7, "GIF": 9, "BMP": 8, "TIFF": 13, "PNM": 8, "WebP": 13}
"""Memory that decoding with Pillow takes at most, measured; a TIFF may have to be turned."""

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_STRIP_OFFSETS, _ORIENTATION, _CHANNELS, _ROWS_PER_STRIP, _PLANAR = 273, 274, 277, 278, 284
_PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 320, 322, 323, 324
_SAMPLE_FORMAT, _DNG = 339, 50706
"""EXIF and TIFF tags."""

_CAMERA_RAW, _JPEG_XL = "a camera's raw file", "a JPEG XL image"
_UNSUPPORTED_IMAGES = (_CAMERA_RAW, _JPEG_XL)

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"PK\x03\x04", "a zip archive, or a document made like one"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\xff\x0a", _JPEG_XL),
    (b"\0\0\0\x0cJXL ", _JPEG_XL),
    (b"qoif", "a QOI image"),
    (b"DDS ", "a DDS texture"),
    (b"v/1\1", "an OpenEXR image"),
    (b"#?", "a Radiance HDR image"),
    (b"P7\n", "a PAM image"),
    (b"PF\n", "a PFM image"),
    (b"Pf\n", "a PFM image"),
    (b"Y\xa6\x6a\x95", "a Sun raster image"),
    (b"RIFF", "sound or video (RIFF)"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"version https://git-lfs", "a Git LFS pointer: the image itself was not fetched"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite format 3", "a database"),
)

_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1"), "HEIC"),  # unless a brand beside it says AVIF
}
"""The first brand of the box that a file begins with."""

_MAX_BRANDS_BYTES = 256


_DOUBTFUL_START = re.compile(
    rb"BM.{12}(?![\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0)|BM.{0,15}$|P[1-6]\s+(?![\d#])", re.DOTALL
)
"""Of text that begins with the two letters of a BMP or PNM."""


class Undecodable(ValueError):
    """The bytes are no image that can be used; the message says why, as the rest of a sentence."""


class Damaged(Undecodable):
    """The bytes do not make an image; decoders that get no memory say so, too."""


def cut_off(what: str) -> Damaged:
    """Return the refusal of a file that ends too early."""
    return Damaged(f"is cut off: {what}")


def damaged(what: str) -> Damaged:
    """Return the refusal of a file whose parts do not fit together."""
    return Damaged(f"is damaged: {what}")


class Header(NamedTuple):
    """What the header of an image file claims."""

    format: str
    """As people call it: JPEG, PNG, ..."""

    height_px: int
    width_px: int
    """Of the first frame or page as it is stored, before it is turned upright."""

    bytes_per_pixel: int
    """Memory that decoding takes at most for each pixel, in bytes; measured."""

    orientation: int = 1
    """EXIF's, 1 to 8."""

    image: ImageFile.ImageFile | None = None
    """Opened by Pillow, not decoded yet; none where OpenCV or simplejpeg does without."""

    bits: int = 8
    """Of a channel, as it is decoded; `dataset.depth16` says what becomes of more than 8."""


def read_header(data: bytes) -> Header:
    """Return what the header of any image but a JPEG claims.

    Raises:
        Undecodable: It is empty, no image of a supported format or kind, cut off or damaged.
    """
    if data.startswith(_PNG) and (plain := _read_plain_png(data)) is not None:
        return plain
    format_name, reader = _identify(data)
    with explain_errors(format_name):
        image = reader(io.BytesIO(data))
        bits = _check_tiff(image, data) if format_name == "TIFF" else 8
        if format_name == "JPEG 2000":
            _check_jpeg2000(data)
    # A TIFF is turned upright by Pillow as it is decoded.
    orientation = 1 if format_name == "TIFF" else read_orientation(image.info.get("exif", b""))
    if image.mode == "LAB":
        raise Undecodable("is an unsupported kind of TIFF: CIELab; save it as PNG")
    if image.mode not in MODES or (image.mode == "I" and format_name != "PNM"):
        raise Undecodable(
            f"is a {format_name} of a kind (Pillow: {image.mode}) that is not supported; save it as PNG"
        )
    if format_name == "PNG":
        bits = data[24]
    elif image.mode in WIDE_MODES and format_name != "TIFF":
        bits = 16  # to which Pillow scales PGM and JPEG 2000
    width_px, height_px = image.size
    # OpenJPEG decodes to 4 bytes a sample.
    bytes_per_pixel = _BYTES_PER_PIXEL.get(format_name, 5 + 5 * len(image.getbands()))
    return Header(format_name, height_px, width_px, bytes_per_pixel, orientation, image, bits)


def _read_plain_png(data: bytes) -> Header | None:
    """Return the header of a whole PNG of the usual chunks; None if Pillow is to say what is odd or wrong.

    Pillow takes as long to open a PNG of 28 x 28 pixels as OpenCV takes to decode it.
    """
    kind, position = b"", 8
    while kind != b"IEND":
        if len(data) < position + 12:
            return None
        num_bytes, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + num_bytes
        is_critical = kind[:1].isupper()
        checksum = data[end : end + 4]
        if kind not in _PLAIN_CHUNKS or len(checksum) < 4:
            return None
        if is_critical and zlib.crc32(data[position + 4 : end]).to_bytes(4) != checksum:
            return None
        position = end + 4
    width_px, height_px, bits, color_type = struct.unpack_from(">IIBB", data, 16)
    num_packed = len(data) * _MOST_INFLATED
    if data[12:16] != b"IHDR" or not 0 < width_px * height_px * bits <= 8 * num_packed:
        return None
    has_alpha = color_type in (4, 6)
    bytes_per_pixel = (20 if bits == 16 else 11) if has_alpha else 6
    return Header("PNG", height_px, width_px, bytes_per_pixel, bits=bits)


def _identify(data: bytes) -> tuple[str, type[ImageFile.ImageFile]]:
    """Return a supported format, and Pillow's reader for it."""
    for magic, found in _FORMATS.items():
        if data.startswith(magic):
            return found
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP", WebPImagePlugin.WebPImageFile
    if not data:
        raise Undecodable("the file is empty")
    what = _name_content(data)
    supported = "supported are JPEG, PNG, BMP, WebP, GIF, TIFF, JPEG 2000, HEIC, AVIF, PBM, PGM and PPM"
    advice = "; convert it to JPEG or PNG" if what in _UNSUPPORTED_IMAGES else ""
    raise Undecodable(f"is {what}; {supported}{advice}")


def find_brand(data: bytes) -> str:
    """Return HEIC or AVIF if that is what a file is by its first bytes, else nothing."""
    if data[4:8] != b"ftyp" or data[8:12] not in _BRANDS:
        return ""
    end = min(int.from_bytes(data[:4], "big"), _MAX_BRANDS_BYTES, len(data))
    brands = [data[8:12], *(data[start : start + 4] for start in range(16, end, 4))]
    if data[8:12] in (b"mif1", b"msf1"):  # of either kind
        return "AVIF" if {b"avif", b"avis"} & set(brands) else "HEIC"
    return _BRANDS[data[8:12]]


def name_other_content(start: bytes) -> str:
    """Return what a file seems to be by its first KB; nothing if it is an image, even an unsupported one.

    For files whose names do not tell. Whether an image can be decoded is for `read_header` to say.
    """
    if start.startswith(JPEG) or (start.startswith(b"RIFF") and start[8:12] == b"WEBP"):
        return ""
    if find_brand(start) or (start.startswith(tuple(_FORMATS)) and not _DOUBTFUL_START.match(start)):
        return ""
    name = _name_content(start) if start else "an empty file"
    return "" if name in _UNSUPPORTED_IMAGES else name


@contextmanager
def explain_errors(format_name: str) -> Iterator[None]:
    """Turn what Pillow raises in the block into an Undecodable.

    Raises:
        Undecodable: Pillow raised something.
        MemoryError: There is not enough memory.
    """
    try:
        yield
    except (MemoryError, Undecodable):
        raise
    except Image.DecompressionBombError as error:
        raise Undecodable(f"claims more pixels than Pillow decodes: {printable(str(error))}") from None
    except Exception as error:
        text = printable(str(error)) or type(error).__name__
        if (
            "runcat" in text
            or "unpack_from" in text
            or isinstance(error, EOFError | IndexError | struct.error)
        ):
            raise cut_off(text) from None
        if format_name == "TIFF" and (text == "unknown pixel mode" or "not available" in text):
            kind = "bits and channels that Pillow does not read" if text == "unknown pixel mode" else text
            raise Undecodable(f"is an unsupported kind of TIFF: {kind}; save it as PNG") from None
        raise damaged(f"Pillow cannot read this {format_name}: {text}") from None


def read_orientation(exif: bytes) -> int:
    """Return the orientation (1 to 8) in a block of EXIF data; 1 where there is none or it is broken."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        with explain_errors("EXIF"):
            tags.load(exif)
            orientation = tags.get(_ORIENTATION, 1)
    except Undecodable:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _check_tiff(image: ImageFile.ImageFile, data: bytes) -> int:
    """Refuse TIFFs that Pillow would decode wrongly or in part; return the bits of a channel."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    if data[8:10] == b"CR" or _DNG in tags or tags.get(_SUBFILE, 0) & 1:
        raise Undecodable("is a camera's raw file, or holds a preview only; export it as JPEG or TIFF")
    if set(tags.get(_SAMPLE_FORMAT, (1,))) != {1} or image.mode in ("F", "I"):
        raise Undecodable(
            "holds floating point or signed numbers, or 32 bits, which do not say what is white; "
            "save it with 8 or 16 bits a channel"
        )
    if _PHOTOMETRIC not in tags:
        raise damaged("it does not say whether 0 is black or white (PhotometricInterpretation)")
    bits = int(max(tags.get(_BITS, (1,))))
    kind = ""
    if bits > 8 and tags[_PHOTOMETRIC] == 0:
        kind = f"{bits} bits a channel where 0 is white"
    elif bits > 8 and tags.get(_PLANAR, 1) == 2:
        kind = f"{bits} bits a channel, each channel apart"
    elif image.mode == "P" and max(tags.get(_PALETTE, (0,))) < 256:
        kind = "a palette of 8 bits a colour"
    if kind:
        raise Undecodable(f"is an unsupported kind of TIFF: {kind}; save it as PNG")
    width, height, offsets = tags[_WIDTH], tags[_HEIGHT], tags.get(_STRIP_OFFSETS, ())
    rows, columns = min(height, tags.get(_ROWS_PER_STRIP, height)), width
    if _TILE_OFFSETS in tags:
        offsets, columns, rows = tags[_TILE_OFFSETS], tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if not 0 < rows <= height + 4096 or not 0 < columns <= width + 4096:
        raise damaged(f"it claims tiles or strips of {columns:,} x {rows:,} pixels")
    planes = tags.get(_CHANNELS, 1) if tags.get(_PLANAR, 1) == 2 else 1
    needed = -(-height // rows) * -(-width // columns) * planes
    if len(offsets) < needed:
        raise damaged(f"of {needed:,} tiles or strips it names {len(offsets):,}")
    return bits


def scale_transparent_gray(image: ImageFile.ImageFile, data: bytes) -> None:
    """Bring the transparent gray of a PNG of 2 or 4 bits to 8 bits, as Pillow brings the pixels."""
    bits = data[24]
    if image.mode == "L" and bits in (2, 4) and isinstance(key := image.info.get("transparency"), int):
        image.info["transparency"] = key * (255 // (2**bits - 1))


def _check_jpeg2000(data: bytes) -> None:
    """Refuse a JPEG 2000 that lacks tiles: OpenJPEG leaves them blank, without an error."""
    start = data.find(_CODESTREAM)
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", data, start + 8)
    if not width or not height:
        raise damaged(f"it claims tiles of {width:,} x {height:,} pixels")
    needed = -(-(right - left) // width) * -(-(bottom - top) // height)
    # Two bytes behind its marker (SOT) and length is a tile's number. Pixels never look like a marker.
    num_tiles = len({found[1] for found in re.finditer(rb"\xff\x90\0\x0a(..)", data[start:], re.DOTALL)})
    if num_tiles < needed:
        raise damaged(f"of {needed:,} tiles it has {num_tiles:,}")


def _name_content(data: bytes) -> str:
    """Return what a file seems to be that is no image of a supported format."""
    if data[4:8] == b"ftyp":
        return _CAMERA_RAW if data[8:12] == b"crx " else "a video"
    for magic, name in _OTHERS:
        if data.startswith(magic):
            return name
    start = data[:1024]
    if not start.strip(b"\0"):
        return "no image: it starts with nothing but null bytes"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML), as servers send instead of an image"
    if text.startswith(b"<?xml"):
        return "an XML document"
    if text.startswith((b"{", b"[")) and _is_text(start):
        return "text (JSON), as servers send instead of an image"
    return "text" if _is_text(start) else "no image of a known kind"


def _is_text(start: bytes) -> bool:
    """Return whether bytes read as text: UTF-8 without control characters, perhaps cut within one."""
    text = start.decode("utf-8", errors="ignore")
    has_controls = any(char < " " and char not in "\t\r\n\f" for char in text)
    return not has_controls and len(text.encode()) >= len(start) - 3
