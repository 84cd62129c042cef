"""Which files are images, by their names alone."""

from typing import Literal

_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .jp2 .j2k .png .bmp .dib .webp .gif .tif .tiff .ppm .pgm .pbm .pnm "
    ".heic .heif .avif .jxl"  # not decoded, and the decoder says so by name
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
