"""Whether DVC has a file: its cache holds an object named by the MD5 of the file's bytes."""

import configparser
import hashlib
from pathlib import Path


def hash_for_dvc(path: Path) -> str:
    """Return the MD5 by which DVC names a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def is_in_dvc_cache(md5: str, *, dvc_folder: Path) -> bool:
    """Return whether the cache of a repository, by its .dvc folder, holds an object."""
    return find_object(md5, dvc_folder=dvc_folder).is_file()


def find_object(md5: str, *, dvc_folder: Path) -> Path:
    """Return where the cache of a repository keeps an object, whether it has it or not."""
    return _find_cache(dvc_folder) / "files" / "md5" / md5[:2] / md5[2:]


def _find_cache(dvc_folder: Path) -> Path:
    for name in ("config.local", "config"):
        config = configparser.ConfigParser(interpolation=None)
        try:
            config.read(dvc_folder / name, encoding="utf-8")
        except configparser.Error:
            continue
        if folder := config.get("cache", "dir", fallback=None):
            return dvc_folder / folder.strip("'\"")
    return dvc_folder / "cache"
