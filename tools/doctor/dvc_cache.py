"""Objects of DVC's cache that dvc.lock names and that are missing or damaged."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.shared.errors import InputError, printable
from stages.shared.paths import find_object, hash_for_dvc, open_dvc_cache
from tools.doctor.obstacle import Obstacle
from tools.dvc_lock import Entry, describe_folder, has_outputs, hash_path, list_objects, read_lock


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
    try:
        open_dvc_cache(dvc_folder)
    except InputError:
        return  # DVC's configuration is named among the prerequisites
    if not has_outputs(stages, dvc_folder=dvc_folder):
        print("doctor: nothing was made here yet; make it with: dvc repro (or get it with: dvc pull)")
        return
    entries = []
    for stage, recorded in stages.items():
        for entry in recorded.get("outs", []):
            is_cached = find_object(entry["md5"], dvc_folder=dvc_folder).is_file()
            if not is_cached and not Path(entry["path"]).exists():
                continue
            entries.append(entry)
            # A folder's listing first: which files it names is known only once it has been fixed.
            yield from _check_object(stage, entry["md5"], [entry["path"]], dvc_folder=dvc_folder)
            copies: dict[str, list[str]] = {}
            for file, md5 in list_objects(entry, dvc_folder=dvc_folder).items():
                copies.setdefault(md5, []).append(file)
            for md5, files in copies.items():
                if md5 != entry["md5"]:
                    yield from _check_object(stage, md5, files, dvc_folder=dvc_folder)
    yield from _check_overlooked(entries, dvc_folder=dvc_folder)


def _check_object(stage: str, md5: str, files: Sequence[str], *, dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield that the cache lacks an object, or holds it damaged, which all of these files should equal."""
    path = find_object(md5, dvc_folder=dvc_folder)
    if not path.is_file():
        state = "is missing from the cache"
    elif hash_for_dvc(path) != md5.removesuffix(".dir"):
        state = f"is damaged in the cache, as {md5}"
    else:
        return
    here = next((file for file in files if _is_in_working_folder(Path(file), md5)), None)
    advice = "copy it there from the working folder" if here else f"delete it, then: dvc repro {stage}"
    yield Obstacle(
        f"{printable(here or files[0])}: {state}; {advice} (or get it with: dvc pull)",
        partial(_restore, path, Path(here or files[0]), md5, stage=stage, dvc_folder=dvc_folder),
    )


def _check_overlooked(entries: Sequence[Entry], *, dvc_folder: Path) -> Iterator[Obstacle]:
    """Yield the files of outputs that are damaged though DVC takes them for unchanged.

    DVC does not read a file again while its size, inode and time of change are those it knows. A file that
    was written since, by hand or by a stage, has another time, so that DVC sees it and deals with it.
    """
    damaged = {
        Path(file): entry["path"]
        for entry in entries
        for file, md5 in list_objects(entry, dvc_folder=dvc_folder).items()
        if not md5.endswith(".dir") and Path(file).is_file() and hash_for_dvc(Path(file)) != md5
    }
    seen = _ask_what_changed() if damaged else set()
    for path, output in damaged.items():
        if output not in seen:
            name = printable(str(path))
            yield Obstacle(
                f"{name}: is damaged, and DVC takes it for unchanged; have DVC read it again, with: "
                f"touch {name} && dvc repro",
                path.touch,
            )


def _ask_what_changed() -> set[str]:
    """Return the outputs of which DVC itself finds that they are not what dvc.lock says."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(f"dvc status failed: {printable(reason)}")
    stages = json.loads(done.stdout)
    changes = [change for stage in stages.values() for change in stage if isinstance(change, dict)]
    return {output for change in changes for output in change.get("changed outs", {})}


def _is_in_working_folder(path: Path, md5: str) -> bool:
    """Return whether the working folder has the right bytes."""
    is_right_kind = path.is_dir() if md5.endswith(".dir") else path.is_file()
    return is_right_kind and hash_path(path) == md5


def _restore(place: Path, file: Path, md5: str, *, stage: str, dvc_folder: Path) -> None:
    """Put an object back into the cache; delete a damaged one in any case, so that DVC never hands it out."""
    is_here = _is_in_working_folder(file, md5)
    place.unlink(missing_ok=True)
    if not is_here:
        raise InputError(
            f"{printable(str(file))}: is lost, and no copy is left; make it with: dvc repro {stage}"
        )
    cache = open_dvc_cache(dvc_folder)  # gives it the name, the modes and the links that DVC gives
    if not md5.endswith(".dir"):
        cache.add(os.fspath(file), cache.fs, md5)
        return
    with TemporaryDirectory() as folder:
        listing = Path(folder, "listing")
        listing.write_text(describe_folder(file)[1], encoding="utf-8")
        cache.add(os.fspath(listing), cache.fs, md5)
