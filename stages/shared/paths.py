"""Where the stages hand files to each other, and the DVC repository around them."""

import configparser
import hashlib
import os
from pathlib import Path

IMAGES = Path("data/images")
PREPARED = Path("data/prepared")
AUDIT = Path("data/audit")
MODEL = Path("data/model")
DVCLIVE = Path("data/dvclive")
REPORT = Path("data/report")
METRICS = Path("data/metrics")
COUNTS = Path("data/counts")

MAKE_IMAGES = "dvc repro ingest"
MAKE_PREPARED = "dvc repro prepare-dataset"
MAKE_MODEL = "dvc repro train"


def list_tested(checkpoint: str) -> tuple[Path, ...]:
    """Return the files that a test report is made of: those that say all of the others by their hashes."""
    return (
        PREPARED / "manifest.json",
        AUDIT / "findings.csv",
        MODEL / f"{checkpoint}.safetensors",
        MODEL / "history.json",
    )


def find_dvc_folder() -> Path | None:
    """Return the .dvc folder of the repository; None outside one.

    DVC runs experiments in copies of the repository. DVC_ROOT names the repository itself in all of them.
    """
    root = os.environ.get("DVC_ROOT")
    folders = [Path(root)] if root else [Path.cwd(), *Path.cwd().parents]
    return next((folder / ".dvc" for folder in folders if (folder / ".dvc").is_dir()), None)


def find_scratch() -> Path | None:
    """Return the folder for what outlives a run but is no output; None outside a DVC repository.

    DVC removes a stage's outputs before it runs the stage, and the copies it runs experiments in after that.
    """
    found = find_dvc_folder()
    return found / "tmp" / "darkroom" if found else None


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
