"""Which files are images, by their names alone."""

from typing import Literal

_SUFFIXES = ".jpg .jpeg .jpe .jp2 .png .bmp .dib .webp .gif .tif .tiff .ppm .pgm .pbm .pnm"
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
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
    start, dot, suffix = path.rpartition(".")
    return dot + suffix.lower() in IMAGE_SUFFIXES and start != "" and not start.endswith("/")
