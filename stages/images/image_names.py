"""Which files are images, by their names alone."""

from pathlib import PurePosixPath

_SUFFIXES = ".jpg .jpeg .jpe .jp2 .png .bmp .dib .webp .gif .tif .tiff .ppm .pgm .pbm .pnm"
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
CLUTTER = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))


def is_clutter(path: str) -> bool:
    """Return whether a path is hidden, or what operating systems leave behind."""
    return any(part.startswith(".") or part in CLUTTER for part in path.split("/"))


def has_image_suffix(path: str) -> bool:
    """Return whether a file is called as images are."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
