"""What `dataset.source` names: a folder, a zip archive or a tar archive."""

import stat
from pathlib import Path

from stages.images.source import Source, reason_of
from stages.images.sources import ARCHIVE_SUFFIXES, is_archive, open_archive
from stages.images.sources.folder import FolderSource
from stages.shared.errors import InputError


def open_source(path: Path) -> Source:
    """Return a reader for what `dataset.source` names.

    Raises:
        InputError: There is nothing at the path, it is of no known kind, or the archive is damaged or unsafe.
    """
    place = f"dataset.source: {path}"
    advice = "put class folders there, or set dataset.source to where yours are"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{place}: there is no such file or folder; {advice}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be opened: {reason_of(error)}; {advice}") from None
    if stat.S_ISDIR(mode):
        return FolderSource(path, key="dataset.source")
    if not stat.S_ISREG(mode) or not is_archive(path):
        suffix = path.suffix.lower()
        found = f"a {suffix} file" if stat.S_ISREG(mode) and suffix else "no folder"
        raise InputError(
            f"{place}: found {found}; allowed: a folder, or a {', '.join(ARCHIVE_SUFFIXES)} of class folders"
        )
    return open_archive(path, place=place)
