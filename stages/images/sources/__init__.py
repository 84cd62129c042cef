"""Where images come from: a folder, a zip archive or a tar archive.

A source lists its files and says where each is; what it says can be sent to another process and read there.
Names that climb out of an archive, links out of a folder, encrypted and damaged members are refused here.
"""

import stat
from pathlib import Path

from stages.images.sources.folder import FolderSource
from stages.images.sources.source import FileRef, Source, UnreadableFile, reason_of
from stages.images.sources.tar import COMPRESSED_TARS, TarSource
from stages.images.sources.zip import ZipSource
from stages.shared.errors import InputError
from stages.shared.paths import walk_seen_by_dvc

__all__ = ["FileRef", "Source", "UnreadableFile", "is_archive", "open_archive", "open_source", "reason_of"]

_ARCHIVE_SUFFIXES = (".zip", ".tar", *COMPRESSED_TARS)


def is_archive(path: Path) -> bool:
    """Return whether a file's name is that of an archive."""
    return path.name.lower().endswith(_ARCHIVE_SUFFIXES)


def open_source(path: Path, *, place: str) -> Source:
    """Return the folder or archive at a path; of a folder, what DVC sees.

    Args:
        path: What to open.
        place: What to call it in messages: the parameter that names it, a colon, and the path.

    Raises:
        InputError: There is nothing at the path, it is of no known kind, or the archive is damaged or unsafe.
    """
    key = place.partition(":")[0]
    advice = f"put class folders there, or set {key} to where yours are"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{place}: there is no such file or folder; {advice}") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise InputError(f"{place}: cannot be opened: {reason_of(error)}; {advice}") from None
    if stat.S_ISDIR(mode):
        return FolderSource(path, place=place, walk=walk_seen_by_dvc)
    if not stat.S_ISREG(mode) or not is_archive(path):
        suffix = path.suffix.lower()
        found = f"a {suffix} file" if stat.S_ISREG(mode) and suffix else "no folder"
        raise InputError(
            f"{place}: found {found}; allowed: a folder, or a {', '.join(_ARCHIVE_SUFFIXES)} of class folders"
        )
    return open_archive(path, place=place)


def open_archive(path: Path, *, place: str) -> Source:
    """Return the archive at a path that `is_archive`.

    Raises:
        InputError: It cannot be opened, is damaged, or holds names that point outside.
    """
    kind = ZipSource if path.name.lower().endswith(".zip") else TarSource
    try:
        return kind(path, place=place)
    except OSError as error:
        raise InputError(f"{place}: cannot be opened: {reason_of(error)}") from None
