"""Whether DVC has a file: its cache holds an object named by the MD5 of the file's bytes."""

import configparser
import hashlib
import os
from pathlib import Path

from stages.shared.errors import InputError


def find_dvc_folder() -> Path:
    """Return the .dvc folder of the main repository, which DVC names, or the nearest one upwards.

    Raises:
        InputError: There is none.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root) / ".dvc"
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder / ".dvc"
    raise InputError(f"{here}: is in no DVC repository, where training saves its state; make one: dvc init")


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
