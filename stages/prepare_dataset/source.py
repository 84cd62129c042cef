"""The places images come from: a folder, a zip archive, a tar archive.

A source lists its entries as relative paths with forward slashes, in sorted order, and reads one file's bytes.
Nothing is unpacked to disk. A path that ends in a slash is a folder.
"""

import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Protocol

from stages.shared.errors import InputError


class Source(Protocol):
    """Something that holds files."""

    def list_entries(self) -> list[str]:
        """Return the path of every file and folder, sorted; folders end in a slash."""
        ...

    def read(self, path: str) -> bytes:
        """Return the bytes of a listed file; may be called from several threads.

        Raises:
            UnreadableFile: The bytes cannot be had; the message says why.
        """
        ...


class UnreadableFile(Exception):
    """One file of a source cannot be read; the others may."""


def open_source(path: Path) -> Source:
    """Return a reader for what `dataset.source` names.

    Raises:
        InputError: There is nothing at the path, it is of no known kind, or the archive is damaged or unsafe.
    """
    if not path.exists():
        raise InputError(
            f"dataset.source: {path}: there is no such file or folder; put class folders there, "
            "or set dataset.source to where yours are"
        )
    if path.is_dir():
        return FolderSource(path)
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return ZipSource(path)
    if suffix == ".tar":
        return TarSource(path)
    raise InputError(
        f"dataset.source: {path}: found a file; allowed: a folder, a .zip or a .tar of class folders"
    )


class FolderSource:
    """A folder on disk. Links to folders are not followed; pipes, sockets and devices are never opened."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list_entries(self) -> list[str]:
        entries = []
        for folder, subfolders, files in os.walk(self._root, onerror=_raise):
            relative = Path(folder).relative_to(self._root)
            entries += [(relative / name).as_posix() + "/" for name in subfolders]
            entries += [
                (relative / name).as_posix() for name in files if _is_regular_file(os.path.join(folder, name))
            ]
        return sorted(entries)

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise UnreadableFile(error.strerror or str(error)) from None


class ZipSource:
    """A zip archive, read in place."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise InputError(
                f"dataset.source: {path}: is no readable zip archive ({error}); make it anew"
            ) from None
        self._names = {_safe_name(path, info.filename): info for info in self._archive.infolist()}

    def list_entries(self) -> list[str]:
        return sorted(self._names)

    def read(self, path: str) -> bytes:
        try:
            return self._archive.read(self._names[path])
        except (
            zipfile.BadZipFile,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            zlib.error,
        ) as error:
            raise UnreadableFile(f"the archive holds it damaged or encrypted: {error}") from None


class TarSource:
    """An uncompressed tar archive, read in place. Links and devices inside it are left alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(path, mode="r:") as archive:
                for member in archive:
                    name = _safe_name(path, member.name)
                    if member.isdir():
                        self._places[name.rstrip("/") + "/"] = (0, 0)
                    elif member.isreg():
                        self._places[name] = (member.offset_data, member.size)
        except (tarfile.TarError, EOFError, UnicodeError) as error:
            raise InputError(
                f"dataset.source: {path}: is no readable tar archive ({error}); make it anew"
            ) from None

    def list_entries(self) -> list[str]:
        return sorted(self._places)

    def read(self, path: str) -> bytes:
        offset, num_bytes = self._places[path]
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(num_bytes)
        if len(data) < num_bytes:
            raise UnreadableFile(f"the archive ends after {len(data)} of its {num_bytes} bytes")
        return data


def _safe_name(archive: Path, name: str) -> str:
    """Return a member's name without a leading `./`; refuse one that points outside the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
        raise InputError(
            f"dataset.source: {archive}: holds {name!r}, which climbs out of the archive; make it anew without"
        )
    return "/".join(parts) + ("/" if name.endswith("/") else "")


def _is_regular_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False  # a link to nowhere


def _raise(error: OSError) -> None:
    raise error
