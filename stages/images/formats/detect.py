"""Which format a file has, by its first bytes; its name has no say."""

from collections.abc import Callable

from stages.images.formats.bmp import read_bmp
from stages.images.formats.gif import read_gif
from stages.images.formats.header import Header, Undecodable
from stages.images.formats.jpeg import read_jpeg
from stages.images.formats.jpeg2000 import CODESTREAM, read_jpeg2000
from stages.images.formats.png import read_png
from stages.images.formats.pnm import read_pnm
from stages.images.formats.tiff import read_tiff
from stages.images.formats.webp import read_webp

_JPEG = b"\xff\xd8\xff"
_READERS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\x89PNG\r\n\x1a\n", read_png),
    (b"GIF87a", read_gif),
    (b"GIF89a", read_gif),
    (b"BM", read_bmp),
    (b"II*\0", read_tiff),
    (b"MM\0*", read_tiff),
    (b"II+\0", read_tiff),
    (b"MM\0+", read_tiff),
    (b"\0\0\0\x0cjP  \r\n\x87\n", read_jpeg2000),
    (CODESTREAM, read_jpeg2000),
    *((b"P%d" % kind + gap, read_pnm) for kind in range(1, 7) for gap in (b"\n", b" ", b"\r", b"\t", b"#")),
)

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"PK\x03\x04", "a zip archive, or a document made like one"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
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
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"hevc": "a HEIC image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"crx ": "a camera's raw file",
}


def read_header(data: bytes) -> Header:
    """Return what a file's header states, its structure having been looked through.

    Raises:
        Undecodable: It is empty, no image of a supported format, cut off or damaged.
    """
    if data.startswith(_JPEG):
        return read_jpeg(data)
    for magic, read in _READERS:
        if data.startswith(magic):
            return read(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return read_webp(data)
    if not data:
        raise Undecodable("the file is empty")
    what = _name_content(data)
    raise Undecodable(
        f"is {what}; supported are JPEG, PNG, BMP, WebP, GIF, TIFF, JPEG 2000, PBM, PGM and PPM"
    )


def _name_content(data: bytes) -> str:
    """Return what a file seems to be that is no image of a supported format."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video")
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
