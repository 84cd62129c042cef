"""What dvc.lock says, against the working folder and the cache."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from stages.params.yaml12 import parse_yaml, read_document
from stages.shared.dvc_repository import find_dvc_folder, find_object, hash_for_dvc
from stages.shared.errors import InputError
from stages.shared.inputs import leaves
from stages.shared.text import printable

Entry = Mapping[str, Any]


class _File(BaseModel):
    """A file or folder that a stage depends on or makes."""

    path: str
    md5: str


class _Stage(BaseModel):
    """What DVC notes of a stage, as far as it is looked at."""

    params: dict[str, dict[str, Any]] = {}
    deps: list[_File] = []
    outs: list[_File] = []


_STAGES = TypeAdapter(dict[str, _Stage])

_UNSEEN = frozenset({".git", ".hg", "__pycache__"})
"""What DVC passes over in a folder: the last by .dvcignore, as *.pyc, the others always."""


def check_lock() -> tuple[list[str], int]:
    """Compare parameters, dependencies, outputs and the cache objects behind these with dvc.lock.

    Returns:
        A line for each that does not agree, and how many files were compared.

    Raises:
        InputError: There is no dvc.lock, or it cannot be read.
    """
    stages = read_lock()
    dvc_folder = find_dvc_folder()
    if dvc_folder is None:
        raise InputError(f"{Path.cwd()}: is in no DVC repository; run this at the top of the project")
    values = read_document("params.yaml").data
    problems: list[str] = []
    num_files = 0
    for stage, noted in stages.items():
        problems += _check_params(stage, noted.get("params", {}).get("params.yaml", {}), values)
        for entry in noted.get("deps", []):
            problems += [f"{stage}: {problem}" for problem in _check_files(entry)]
        for entry in noted.get("outs", []):
            found = list(_list_files(Path(entry["path"])))
            num_files += len(found)
            problems += [f"{stage}: {problem}" for problem in _check_files(entry)]
            problems += [f"{stage}: {problem}" for problem in _check_objects(entry, dvc_folder=dvc_folder)]
    return problems, num_files


def read_lock() -> Mapping[str, Entry]:
    """Return what dvc.lock notes of each stage.

    Raises:
        InputError: There is no dvc.lock, or it cannot be read.
    """
    try:
        # By the rules of YAML 1.2, as DVC writes it: PyYAML takes `compile: off` for false.
        document = parse_yaml(Path("dvc.lock").read_text(encoding="utf-8"))
        if not document.problems:
            stages: Mapping[str, Entry] = document.data["stages"]
            _STAGES.validate_python(stages)
            return stages
    except FileNotFoundError:
        raise InputError("dvc.lock: there is no such file; make it with: dvc repro") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError("dvc.lock: is damaged; bring it back with: git checkout dvc.lock")


def list_objects(entry: Entry, *, dvc_folder: Path) -> dict[str, str]:
    """Return the cache objects of an output: the file that each is, by its MD5; a folder's list is first."""
    wanted = {entry["md5"]: entry["path"]}
    listing = find_object(entry["md5"], dvc_folder=dvc_folder)
    if entry["md5"].endswith(".dir") and listing.is_file():
        with suppress(ValueError, KeyError, TypeError):  # damaged, as its own hash tells
            files = json.loads(listing.read_bytes())
            wanted |= {file["md5"]: f"{entry['path']}/{file['relpath']}" for file in files}
    return wanted


def describe_folder(path: Path) -> tuple[str, str]:
    """Return DVC's name for a folder, and the list of its files that the cache keeps under that name."""
    files = [
        {"md5": hash_for_dvc(file), "relpath": file.relative_to(path).as_posix()}
        for file in _list_files(path)
    ]
    files.sort(key=lambda file: file["relpath"])
    text = json.dumps(files, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir", text


def _check_params(stage: str, noted: Entry, values: Entry) -> Iterator[str]:
    then, now = _flatten(noted), _flatten({section: values.get(section) for section in noted})
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            yield (
                f"{stage}: {key}: dvc.lock says {json.dumps(then.get(key))}, "
                f"params.yaml {json.dumps(now.get(key))}; make the two agree with: dvc repro"
            )


def _flatten(sections: Entry) -> dict[str, object]:
    return {key: value for section, content in sections.items() for key, value in leaves(section, content)}


def _check_files(entry: Entry) -> Iterator[str]:
    """Compare a file or folder with its MD5 in dvc.lock."""
    path = Path(entry["path"])
    if not path.exists():
        yield f"{path}: is not there; bring it back with: dvc checkout"
    elif _hash(path) != entry["md5"]:
        yield f"{path}: is not what dvc.lock says; bring it up to date with: dvc repro"


def _check_objects(entry: Entry, *, dvc_folder: Path) -> Iterator[str]:
    """Rehash what the cache holds of an output."""
    for md5, name in list_objects(entry, dvc_folder=dvc_folder).items():
        path = find_object(md5, dvc_folder=dvc_folder)
        if not path.is_file():
            yield f"{printable(name)}: the cache does not have it; put it there with: dvc commit"
        elif hash_for_dvc(path) != md5.removesuffix(".dir"):
            yield (
                f"{printable(name)}: the cache holds damaged bytes of it, {md5}; "
                "delete that file and put it there again with: dvc commit"
            )


def _hash(path: Path) -> str:
    """Return DVC's name for a file, or for a folder with all that is in it."""
    return hash_for_dvc(path) if path.is_file() else describe_folder(path)[0]


def _list_files(path: Path) -> Iterator[Path]:
    """Yield the files that DVC sees."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return (
        file
        for file in files
        if file.is_file() and file.suffix != ".pyc" and _UNSEEN.isdisjoint(file.relative_to(path).parts)
    )
