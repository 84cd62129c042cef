"""Files without a suffix that tells are looked into, in folders and archives alike."""

import os
import zipfile
from pathlib import Path

import pytest

from stages.images.image_names import find_images
from stages.images.sources import open_source
from tests.images.trees import encode, picture, write_folder, write_tar, write_zip

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
WEBP = encode([[[1, 2, 3]] * 2] * 2, ".webp")
FILES = {
    "a/1": picture(),
    "a/2.jpg!large": encode([[[1, 2, 3]] * 9] * 9, ".jpg"),
    "a/3.dat": WEBP,
    "a/4": HEIC,
    "a/5.pgm_": b"P5\n# by hand\n1 1\n255\nx",
    "b/1": b"BMW and others\n",
    "b/2": b"P1 is the first of them\n",
    "b/3.txt": picture(),
    "b/4": b"",
    "b/5.orig": b"<html>",
    "b/6": bytes(range(255, -1, -1)) * 40,
}
IMAGES = [path for path in FILES if path.startswith("a/")]


@pytest.mark.parametrize("kind", ["folder", "stored.zip", "deflated.zip", "packed.zip", ".tar"])
def test_first_bytes_tell(kind: str, tmp_path: Path) -> None:
    """What begins like an image is one, supported or not; what begins like another file is named."""
    path = tmp_path / f"raw{kind}"
    if kind == "folder":
        write_folder(path, FILES)
    elif kind.endswith(".zip"):
        method = {"s": zipfile.ZIP_STORED, "d": zipfile.ZIP_DEFLATED, "p": zipfile.ZIP_BZIP2}[kind[0]]
        write_zip(path, FILES, compression=method)
    else:
        write_tar(path, FILES)
    source = open_source(path, place=kind)
    names = [name for name in source.list_entries() if not name.endswith("/")]
    found = find_images(names, source)
    assert [name for name, is_image in zip(names, found.is_image, strict=True) if is_image] == IMAGES
    assert found.num_found == len(IMAGES)
    assert {names[place]: reason for place, reason in found.reasons.items()} == {
        "b/1": "is text",
        "b/2": "is text",
        "b/3.txt": ".txt is no image suffix",
        "b/4": "is an empty file",
        "b/5.orig": "is a web page (HTML), as servers send instead of an image",
        "b/6": "is no image of a known kind",
    }


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".j2k", ".heic", ".AVIF", ".jxl"])
def test_suffixes_of_browsers_and_phones(suffix: str) -> None:
    """They are those of images; whether these can be decoded is for the decoder to say."""
    assert find_images([f"cat/1{suffix}"], None).is_image.all()


@pytest.mark.timeout(20)
def test_what_cannot_be_read_is_no_image(tmp_path: Path) -> None:
    """A pipe is not waited for, and a link that leads out is not followed."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/hosts")
    found = find_images(["link", "pipe"], open_source(tmp_path, place="raw"))
    assert found.reasons[0].startswith("is a link out of the source")
    assert found.reasons[1] == "is a pipe, socket or device, not a file"
