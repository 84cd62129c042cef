"""dvc.lock, and the objects of DVC's cache that it names.

Hides how DVC writes YAML, which files of a folder it looks at, and how it names a file or folder by its MD5.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.shared.errors import InputError
from stages.shared.paths import find_object, hash_for_dvc, walk_seen_by_dvc

Entry = Mapping[str, Any]
"""A stage in dvc.lock, or one of its dependencies or outputs."""


class _File(BaseModel):
    """A file or folder that a stage depends on or makes."""

    path: str
    md5: str


class _Stage(BaseModel):
    """What DVC records of a stage, as far as we look at it."""

    params: dict[str, dict[str, Any]] = {}
    deps: list[_File] = []
    outs: list[_File] = []


_STAGES = TypeAdapter(dict[str, _Stage])


def parse_yaml(text: str) -> Any:
    """Return what DVC reads in a YAML text: YAML 1.2, where `off` is a string (PyYAML makes it False).

    Raises:
        ValueError: The text is not YAML.
    """
    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ValueError(str(error)) from error


def read_lock() -> Mapping[str, Entry]:
    """Return what dvc.lock records of each stage.

    Raises:
        InputError: There is no dvc.lock, or it cannot be read.
    """
    try:
        stages: Mapping[str, Entry] = parse_yaml(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
        _STAGES.validate_python(stages)
    except FileNotFoundError:
        raise InputError("dvc.lock: there is no such file; create it with: dvc repro") from None
    except (ValueError, KeyError, TypeError):
        raise InputError("dvc.lock: is damaged; bring it back with: git checkout dvc.lock") from None
    return stages


def has_outputs(stages: Mapping[str, Entry], *, dvc_folder: Path) -> bool:
    """Return whether any output is here or in the cache, which none is in a new clone."""
    return any(
        Path(entry["path"]).exists() or find_object(entry["md5"], dvc_folder=dvc_folder).exists()
        for recorded in stages.values()
        for entry in recorded.get("outs", [])
    )


def list_objects(entry: Entry, *, dvc_folder: Path) -> dict[str, str]:
    """Return the MD5 of an output's cache objects by path; the listing of a folder comes first.

    Files of the same bytes share an object.
    """
    objects = {entry["path"]: entry["md5"]}
    listing = find_object(entry["md5"], dvc_folder=dvc_folder)
    if entry["md5"].endswith(".dir") and listing.is_file():
        with suppress(ValueError, KeyError, TypeError):  # damaged: its own hash will not match
            files = json.loads(listing.read_bytes())
            objects |= {f"{entry['path']}/{file['relpath']}": file["md5"] for file in files}
    return objects


def hash_path(path: Path) -> str:
    """Return DVC's name for a file, or for a folder with everything in it."""
    return hash_for_dvc(path) if path.is_file() else describe_folder(path)[0]


def describe_folder(path: Path) -> tuple[str, str]:
    """Return DVC's name for a folder, and the listing of its files that the cache keeps under that name."""
    files = [
        {"md5": hash_for_dvc(file), "relpath": file.relative_to(path).as_posix()} for file in list_files(path)
    ]
    files.sort(key=lambda file: file["relpath"])
    text = json.dumps(files, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir", text


def list_files(path: Path) -> list[Path]:
    """Return the files that DVC sees at or below a path."""
    if path.is_file():
        return [path]
    walk = walk_seen_by_dvc(str(path))
    files = [Path(folder, name) for folder, _, names in walk for name in names]
    return sorted(file for file in files if file.is_file())
