"""Which files are images: by their names and, where these tell nothing, by their first bytes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.images.headers import name_other_content
from stages.images.sources import Source, UnreadableFile
from stages.shared.errors import printable

_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .jp2 .j2k .png .bmp .dib .webp .gif .tif .tiff .ppm .pgm .pbm .pnm "
    ".heic .heif .hif .avif "
    ".jxl"  # not decoded, and the decoder says so by name
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())

_OTHERS = (
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .toml .md .rst .html .htm .log .py .ipynb .sh .dvc .pdf "
    ".zip .gz .npy .npz .mat .pkl .h5 .db .mp4 .avi .mov .part .tmp .crdownload"
)
_OTHER_SUFFIXES = frozenset(_OTHERS.split())
"""Of what stands beside images and is none, or only a part of one."""

_SYSTEM = "__macosx/thumbs.db/ehthumbs.db/desktop.ini/@eadir/$recycle.bin/system volume information"
SYSTEM_FILES = frozenset(_SYSTEM.split("/"))
"""What operating systems leave behind, in lower case."""

_START_BYTES = 1024

Clutter = Literal["hidden", "system"]


def find_clutter(path: str) -> Clutter | None:
    """Return whether a path is left behind by an operating system, hidden, or neither."""
    if not SYSTEM_FILES.isdisjoint(path.lower().split("/")):
        return "system"
    return "hidden" if path.startswith(".") or "/." in path else None


def has_image_suffix(path: str) -> bool:
    """Return whether a file is called as images are."""
    return suffix_of(path) in IMAGE_SUFFIXES


def has_other_suffix(path: str) -> bool:
    """Return whether a file is called as something else is, so that it need not be looked into."""
    return suffix_of(path) in _OTHER_SUFFIXES


def suffix_of(path: str) -> str:
    """Return a file's suffix in lower case, with its dot; empty where there is none."""
    start, dot, suffix = path.rpartition(".")
    is_suffix = suffix and start and not start.endswith("/") and "/" not in suffix
    return dot + suffix.lower() if is_suffix else ""


class ImageFiles(NamedTuple):
    """What some files are, in their order."""

    is_image: npt.NDArray[np.bool_]
    """(N,): named like an image, or it begins like one. Whether it can be decoded is seen later."""

    reasons: dict[int, str]
    """Why the others are none, by position."""

    num_found: int
    """How many are images by their first bytes alone."""


def find_images(paths: Sequence[str], source: Source | None) -> ImageFiles:
    """Return which files are images.

    Files without a suffix, or with one that neither images nor the usual files beside them have, are looked
    into: one read each.

    Args:
        paths: Of files of the source.
        source: Where to read them; None to go by names alone.

    Raises:
        InputError: An archive is no longer the one that was listed.
    """
    is_image = np.fromiter(map(has_image_suffix, paths), np.bool_, len(paths))
    reasons: dict[int, str] = {}
    num_found = 0
    for place in np.flatnonzero(~is_image).tolist():
        path = paths[place]
        suffix = printable(suffix_of(path))
        if source is None or has_other_suffix(path):
            reasons[place] = f"{suffix} is no image suffix" if suffix else "has no suffix"
            continue
        try:
            content = name_other_content(source.locate(path).read_start(_START_BYTES))
        except UnreadableFile as error:
            reasons[place] = str(error)
            continue
        if content:
            reasons[place] = f"is {content}"
        else:
            is_image[place] = True
            num_found += 1
    return ImageFiles(is_image, reasons, num_found)
