"""The kinds of sources: a folder, a zip archive, a tar archive."""

from pathlib import Path

from stages.images.source import Source, reason_of
from stages.images.sources.tar import COMPRESSED_TARS, TarSource
from stages.images.sources.zip import ZipSource
from stages.shared.errors import InputError

ARCHIVE_SUFFIXES = (".zip", ".tar", *COMPRESSED_TARS)


def is_archive(path: Path) -> bool:
    """Return whether a file is called as archives are."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def open_archive(path: Path, *, place: str) -> Source:
    """Return a reader for an archive.

    Args:
        path: A file that `is_archive`.
        place: What to call it in messages.

    Raises:
        InputError: It cannot be opened, is damaged, or holds names that point outside.
    """
    kind = ZipSource if path.name.lower().endswith(".zip") else TarSource
    try:
        return kind(path, place=place)
    except OSError as error:
        raise InputError(f"{place}: cannot be opened: {reason_of(error)}") from None
