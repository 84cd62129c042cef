"""Tiny image files, and the same files as a folder, a zip and a tar, compressed or not."""

import bz2
import errno
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from schemas.shared.manifest import Color, Depth16, ImageForm, ResizeMode
from stages.images.decode import decode_image
from stages.images.resize import Pixels, resize_image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".TAR.GZ": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": partial(zstd.compress, options={zstd.CompressionParameter.checksum_flag: 1}),
}


def encode(pixels: npt.ArrayLike, suffix: str = ".png") -> bytes:
    """Return the file of an image (height, width[, channels]), channels in RGB or RGBA order."""
    array = np.asarray(pixels)
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    encoded, data = cv2.imencode(suffix, array)
    assert encoded
    return data.tobytes()


def decode_whole(data: bytes, color: Color = "rgb") -> Pixels:
    """Return an image file's pixels at full size."""
    return decode_image(data, form(color=color, height_px=4096, width_px=4096)).pixels


def decode_to_form(data: bytes, wanted: ImageForm) -> Pixels:
    """Return an image file's pixels (height, width, channels), brought to a form."""
    return resize_image(decode_image(data, wanted).pixels, wanted)


def picture(seed: int = 0, *, height: int = 6, width: int = 5) -> bytes:
    """Return a PNG file of random pixels (height, width, 3)."""
    return encode(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def photograph(seed: int = 0, *, height: int = 120, width: int = 100) -> Pixels:
    """Return smooth random pixels (height, width, 3) that keep their looks when they are resized."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def class_folders(
    classes: Iterable[str] = ("cat", "dog"), *, num_images: int = 5, top: str = "", seed: int = 0
) -> dict[str, bytes]:
    """Return path and bytes of `<top><class>/<i>.png`, every image another."""
    return {
        f"{top}{label}/{i}.png": picture(seed + 1000 * j + i)
        for j, label in enumerate(classes)
        for i in range(num_images)
    }


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below root; a path that ends in a slash is an empty folder.

    A disk of macOS holds no names but in UTF-8: a test that needs others is skipped there.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        try:
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(data)
        except OSError as error:
            if error.errno != errno.EILSEQ:
                raise
            pytest.skip(f"this disk cannot hold the name {name!a}")
    return root


def write_zip(path: Path, files: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write files as a zip, in the order given; a path that ends in a slash is a folder."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], *, extra: Iterable[tarfile.TarInfo] = ()) -> Path:
    """Write files as a tar, in the order given, and then members without bytes."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            archive.addfile(member, io.BytesIO(data))
        for member in extra:
            archive.addfile(member)
    return path


def write_compressed(suffix: str, files: Mapping[str, bytes], folder: Path) -> Path:
    """Write files as `source<suffix>`, a compressed tar, and as plain.tar beside it."""
    path = folder / f"source{suffix}"
    path.write_bytes(COMPRESSORS[suffix](write_tar(folder / "plain.tar", files).read_bytes()))
    return path


def member(name: str, kind: bytes, *, target: str = "", num_bytes: int = 0) -> tarfile.TarInfo:
    """Return a tar member of some type of tarfile's."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    info.size = num_bytes
    return info


def form(
    *,
    color: Color = "rgb",
    height_px: int = 4,
    width_px: int = 4,
    resize: ResizeMode = "squish",
    depth16: Depth16 = "high_byte",
) -> ImageForm:
    """Return an image form, small and square unless told otherwise."""
    return ImageForm(color=color, height_px=height_px, width_px=width_px, resize=resize, depth16=depth16)


def flat(*values: int, height: int = 8, width: int = 8) -> Pixels:
    """Return an image of one colour (height, width, channels)."""
    return np.full((height, width, len(values)), values, dtype=np.uint8)
