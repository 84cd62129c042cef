"""The same small photograph in every format and kind that people have."""

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image

from stages.images.resize import Pixels
from tests.images.trees import encode, photograph

HEIGHT_PX, WIDTH_PX = 80, 96

pillow_heif.register_heif_opener()  # for Pillow to write it; decoding does without


def scene(height: int = HEIGHT_PX, width: int = WIDTH_PX, *, seed: int = 1) -> Pixels:
    """Return a picture (height, width, 3) with shapes, edges and a little noise in all of it."""
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    return np.clip(photograph(seed, height=height, width=width) * 0.8 + 25 + noise, 0, 255).astype(np.uint8)


def save(image: Image.Image | Pixels, kind: str, **options: object) -> bytes:
    """Return the file Pillow writes."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def encode_heic(values: npt.NDArray[np.uint16], **options: object) -> bytes:
    """Return a HEIC of 10 bits a channel, of pixels (height, width, 3) of 16."""
    file = io.BytesIO()
    size = values.shape[1::-1]
    pillow_heif.encode("RGB;16", size, values.tobytes(), file, quality=90, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    """Return EXIF data that holds an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, *, bits: int = 8, color: int = 2, rows: bytes = b"", extra: bytes = b""
) -> bytes:
    """Return a PNG of given rows, filter bytes among them."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def insert_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG with one more segment, before all others."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body + jpeg[2:]


def find_segment(jpeg: bytes, marker: int) -> int:
    """Return where the first segment of a kind starts, its marker included."""
    position = 2
    while jpeg[position + 1] != marker:
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return position


def scan_of(jpeg: bytes) -> tuple[int, int]:
    """Return where the pixels of a JPEG of one scan start and end."""
    start = find_segment(jpeg, 0xDA)
    return start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big"), jpeg.rindex(b"\xff\xd9")


def ycck(pixels: Pixels) -> bytes:
    """Return a JPEG of four inks in the colour space that Photoshop prefers for them."""
    black = pixels.max(axis=2, keepdims=True).astype(np.float64)
    inks = 255 - (pixels / np.maximum(black, 1) * 255).astype(np.uint8)
    colors = cv2.cvtColor(inks, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    stacked = np.dstack([colors, black.astype(np.uint8)])  # Adobe stores inks inverted; Pillow, too, inverts
    image = Image.frombytes("CMYK", pixels.shape[1::-1], (255 - stacked).astype(np.uint8).tobytes())
    data = bytearray(save(image, "JPEG", quality=95))
    adobe = data.index(b"Adobe")
    data[adobe + 11] = 2
    return bytes(data)


def _bmp_rle(pixels: Pixels) -> bytes:
    """Return a BMP of 8 bits with run lengths, of the picture in 16 grays."""
    gray = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) // 16).astype(np.uint8)
    body = b"".join(b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in gray[::-1]) + b"\0\1"
    palette = b"".join(bytes((16 * i,) * 3 + (0,)) for i in range(16))
    start = 54 + len(palette)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, gray.shape[1], gray.shape[0], 1, 8, 1, len(body), 0, 0, 16, 16)
        + palette
        + body
    )


def whole_files() -> dict[str, bytes]:
    """Return files that are as they should be, by name; each shows the scene."""
    pixels = scene()
    image = Image.fromarray(pixels)
    gray, black = image.convert("L"), image.convert("1")
    palette = image.quantize(64)
    wide = np.asarray((pixels.astype(np.uint16) << 8) | 17, dtype=np.uint16)
    jpeg: dict[str, Callable[[], bytes]] = {
        "jpeg": lambda: save(image, "JPEG", quality=90),
        "jpeg progressive": lambda: save(image, "JPEG", quality=90, progressive=True),
        "jpeg 4:4:4": lambda: save(image, "JPEG", quality=90, subsampling=0),
        "jpeg 4:2:2": lambda: save(image, "JPEG", quality=90, subsampling=1),
        "jpeg optimized": lambda: save(image, "JPEG", quality=90, optimize=True),
        "jpeg gray": lambda: save(gray, "JPEG", quality=90),
        "jpeg gray progressive": lambda: save(gray, "JPEG", quality=90, progressive=True),
        "jpeg restart 1": lambda: save(image, "JPEG", quality=90, restart_marker_blocks=1),
        "jpeg restart 7": lambda: save(image, "JPEG", quality=90, restart_marker_blocks=7),
        "jpeg restart rows": lambda: save(image, "JPEG", quality=90, restart_marker_rows=1),
        "jpeg cmyk": lambda: save(image.convert("CMYK"), "JPEG", quality=95),
        "jpeg ycck": lambda: ycck(pixels),
        "jpeg icc": lambda: save(image, "JPEG", quality=90, icc_profile=bytes(3000)),
        "jpeg comment": lambda: save(image, "JPEG", quality=90, comment=b"\xff\xd9 not the end"),
    }
    others: dict[str, Callable[[], bytes]] = {
        "png": lambda: save(image, "PNG"),
        "png gray": lambda: save(gray, "PNG"),
        "png 1 bit": lambda: save(black, "PNG"),
        "png palette": lambda: save(palette, "PNG"),
        "png alpha": lambda: save(image.convert("RGBA"), "PNG"),
        "png gray alpha": lambda: save(gray.convert("LA"), "PNG"),
        "png 16 bits": lambda: encode(wide),
        "png icc": lambda: save(image, "PNG", icc_profile=bytes(200)),
        "bmp": lambda: save(image, "BMP"),
        "bmp gray": lambda: save(gray, "BMP"),
        "bmp 1 bit": lambda: save(black, "BMP"),
        "bmp palette": lambda: save(palette, "BMP"),
        "bmp 32 bits": lambda: save(image.convert("RGBA"), "BMP"),
        "bmp rle": lambda: _bmp_rle(pixels),
        "webp": lambda: save(image, "WEBP", quality=90),
        "webp lossless": lambda: save(image, "WEBP", lossless=True),
        "webp alpha": lambda: save(image.convert("RGBA"), "WEBP", lossless=True),
        "webp exif": lambda: save(image, "WEBP", quality=90, exif=exif(1)),
        "gif": lambda: save(palette, "GIF"),
        "gif interlaced": lambda: save(palette, "GIF", interlace=1),
        "gif animated": lambda: save(image, "GIF", save_all=True, append_images=[gray.convert("RGB"), image]),
        "tiff": lambda: save(image, "TIFF"),
        "tiff lzw": lambda: save(image, "TIFF", compression="tiff_lzw"),
        "tiff deflate": lambda: save(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff packbits": lambda: save(image, "TIFF", compression="packbits"),
        "tiff jpeg": lambda: save(image, "TIFF", compression="jpeg", quality=90),
        "tiff gray": lambda: save(gray, "TIFF"),
        "tiff group 4": lambda: save(black, "TIFF", compression="group4"),
        "tiff palette": lambda: save(palette, "TIFF"),
        "tiff cmyk": lambda: save(image.convert("CMYK"), "TIFF"),
        "tiff alpha": lambda: save(image.convert("RGBA"), "TIFF"),
        "tiff 16 bits": lambda: encode(wide, ".tiff"),
        "tiff big": lambda: save(image, "TIFF", big_tiff=True),
        "tiff pages": lambda: save(image, "TIFF", save_all=True, append_images=[gray, image]),
        "jpeg 2000": lambda: save(image, "JPEG2000"),
        "jpeg 2000 lossy": lambda: save(image, "JPEG2000", irreversible=True, quality_layers=[10]),
        "jpeg 2000 codestream": lambda: save(image, "JPEG2000", no_jp2=True),
        "jpeg 2000 tiles": lambda: save(image, "JPEG2000", tile_size=(32, 32)),
        "jpeg 2000 gray": lambda: save(gray, "JPEG2000"),
        "heic": lambda: save(image, "HEIF", quality=90),
        "heic tiles": lambda: save(image, "HEIF", quality=90, tile_size=64),
        "heic gray": lambda: save(gray, "HEIF", quality=90),
        "heic alpha": lambda: save(image.convert("RGBA"), "HEIF", quality=90),
        "heic 4:4:4": lambda: save(image, "HEIF", quality=90, chroma=444),
        "heic 10 bits": lambda: encode_heic(wide),
        "avif": lambda: save(image, "AVIF", quality=90, speed=10),
        "avif gray": lambda: save(gray, "AVIF", quality=90, speed=10),
        "avif alpha": lambda: save(image.convert("RGBA"), "AVIF", quality=90, speed=10),
        "avif animated": lambda: save(
            image, "AVIF", quality=90, speed=10, save_all=True, append_images=[gray.convert("RGB")]
        ),
        "ppm": lambda: save(image, "PPM"),
        "pgm": lambda: save(gray, "PPM"),
        "pbm": lambda: save(black, "PPM"),
    }
    return {name: make() for name, make in (jpeg | others).items()}
