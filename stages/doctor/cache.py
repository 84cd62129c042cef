"""Objects of DVC's cache that dvc.lock names, and that are missing or damaged."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stages.doctor.finding import Finding
from stages.shared.dvc_repository import find_object, hash_for_dvc
from stages.shared.errors import InputError
from stages.shared.text import printable
from stages.verify.lock import describe_folder, list_objects, read_lock


def check_cache(dvc_folder: Path) -> Iterator[Finding]:
    """Yield what the cache does not hold of the outputs, or not as it was."""
    if not Path("dvc.lock").exists():
        return
    try:
        stages = read_lock()
    except InputError as error:
        yield Finding(str(error))
        return
    for name, noted in stages.items():
        for entry in noted.get("outs", []):
            # The list of a folder first: what it names is known once it is mended.
            yield from _check_object(name, entry["md5"], entry["path"], dvc_folder=dvc_folder)
            for md5, file in list_objects(entry, dvc_folder=dvc_folder).items():
                if md5 != entry["md5"]:
                    yield from _check_object(name, md5, file, dvc_folder=dvc_folder)


def _check_object(stage: str, md5: str, file: str, *, dvc_folder: Path) -> Iterator[Finding]:
    path = find_object(md5, dvc_folder=dvc_folder)
    if not path.is_file():
        state = "does not have it"
    elif hash_for_dvc(path) != md5.removesuffix(".dir"):
        state = f"holds damaged bytes of it, {md5}"
    else:
        return
    advice = "put it there from the working folder" if _is_here(file, md5) else "make it anew"
    yield Finding(
        f"{printable(file)}: the cache {state}; {advice} (or dvc pull brings it)",
        partial(_mend, path, Path(file), md5, stage=stage),
    )


def _is_here(file: str, md5: str) -> bool:
    """Return whether the working folder has the right bytes."""
    path = Path(file)
    if md5.endswith(".dir"):
        return path.is_dir() and describe_folder(path)[0] == md5
    return path.is_file() and hash_for_dvc(path) == md5


def _mend(place: Path, file: Path, md5: str, *, stage: str) -> None:
    """Put an object back, or see to it that a damaged one is never handed out again."""
    place.unlink(missing_ok=True)
    if not _is_here(str(file), md5):
        raise InputError(
            f"{printable(str(file))}: is lost; re-create it with: dvc repro --force --single-item {stage}"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    partial_place = place.with_name(f"{place.name}.partial")
    if md5.endswith(".dir"):
        partial_place.write_text(describe_folder(file)[1], encoding="utf-8")
    else:
        shutil.copyfile(file, partial_place)
    partial_place.chmod(0o444)
    partial_place.replace(place)
