"""Objects of DVC's cache that dvc.lock names and that are missing or damaged."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stages.shared.errors import InputError, printable
from stages.shared.paths import find_object, hash_for_dvc
from tools.doctor.obstacle import Obstacle
from tools.dvc_lock import describe_folder, has_outputs, hash_path, list_objects, read_lock


def check_cache(dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield the outputs, and files of outputs, that the cache lacks or holds damaged.

    An output that is in neither the cache nor the working folder, as all are after a clone, is in nobody's
    way: the next run makes it.
    """
    if not Path("dvc.lock").exists():
        return
    try:
        stages = read_lock()
    except InputError as error:
        yield Obstacle(str(error))
        return
    if not has_outputs(stages, dvc_folder=dvc_folder):
        print("doctor: nothing was made here yet; make it with: dvc repro (or get it with: dvc pull)")
        return
    for stage, recorded in stages.items():
        for entry in recorded.get("outs", []):
            is_cached = find_object(entry["md5"], dvc_folder=dvc_folder).is_file()
            if not is_cached and not Path(entry["path"]).exists():
                continue
            # A folder's listing first: which files it names is known only once it has been fixed.
            yield from _check_object(stage, entry["md5"], entry["path"], dvc_folder=dvc_folder)
            for md5, file in list_objects(entry, dvc_folder=dvc_folder).items():
                if md5 != entry["md5"]:
                    yield from _check_object(stage, md5, file, dvc_folder=dvc_folder)


def _check_object(stage: str, md5: str, file: str, *, dvc_folder: Path) -> Iterator[Obstacle]:
    path = find_object(md5, dvc_folder=dvc_folder)
    if not path.is_file():
        state = "is missing from the cache"
    elif hash_for_dvc(path) != md5.removesuffix(".dir"):
        state = f"is damaged in the cache, as {md5}"
    else:
        return
    is_here = _is_in_working_folder(Path(file), md5)
    advice = "copy it there from the working folder" if is_here else "re-create it"
    yield Obstacle(
        f"{printable(file)}: {state}; {advice} (or get it with: dvc pull)",
        partial(_restore, path, Path(file), md5, stage=stage),
    )


def _is_in_working_folder(path: Path, md5: str) -> bool:
    """Return whether the working folder has the right bytes."""
    is_right_kind = path.is_dir() if md5.endswith(".dir") else path.is_file()
    return is_right_kind and hash_path(path) == md5


def _restore(place: Path, file: Path, md5: str, *, stage: str) -> None:
    """Put an object back into the cache; delete a damaged one in any case, so that DVC never hands it out."""
    place.unlink(missing_ok=True)
    if not _is_in_working_folder(file, md5):
        raise InputError(
            f"{printable(str(file))}: is lost; re-create it with: dvc repro --force --single-item {stage}"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    partial_place = place.with_name(f"{place.name}.partial")
    if md5.endswith(".dir"):
        partial_place.write_text(describe_folder(file)[1], encoding="utf-8")
    else:
        shutil.copyfile(file, partial_place)
    partial_place.chmod(0o444)  # as DVC leaves its objects
    partial_place.replace(place)
