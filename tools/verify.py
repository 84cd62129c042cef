"""Check that the results belong to the parameters, code and data that are here.

python -m tools.verify            compare and rehash everything; exit status 1 if something does not agree
python -m tools.verify --rerun    also train again, in a temporary folder, and compare every byte
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.export.export_metrics import ExportManifest
from schemas.params import Params
from schemas.vision.checkpoint import History
from stages.images.image_table import read_ingested
from stages.params.read import read_params
from stages.shared.errors import InputError, printable, run_stage
from stages.shared.files import MEND, check_file, read_sealed_json, sha256_of
from stages.shared.inputs import CODE_ROOT, hash_json, leaves, record_inputs
from stages.shared.paths import (
    COUNTS,
    DVCLIVE,
    EXPORT,
    IMAGES,
    MAKE_EXPORT,
    MAKE_MODEL,
    METRICS,
    MODEL,
    PREPARED,
    REPORT,
    find_dvc_folder,
    find_object,
    hash_for_dvc,
    list_exported,
    list_tested,
)
from tools.dvc_lock import Entry, has_outputs, hash_path, list_files, list_objects, parse_yaml, read_lock

_NUM_LAST_LINES = 3
_IF_OVERLOOKED = "; if that says up to date: python -m tools.doctor --fix"
"""DVC does not read an output again whose time of change it knows."""


def main() -> None:
    """Print a line for each thing that does not agree, or one line that everything does."""
    parser = argparse.ArgumentParser(prog="python -m tools.verify", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rerun", action="store_true", help="train again, in a temporary folder, and compare every byte"
    )
    rerun = parser.parse_args().rerun
    params = read_params()
    problems, num_files = check_lock()
    problems += check_artifacts(params)
    if rerun:
        problems += check_rerun(params)
    if problems:
        raise InputError("\n".join(problems))
    again = ", and training again gave the same bytes" if rerun else ""
    print(f"verify: {num_files:,} files agree with dvc.lock, the cache and their own records{again}")


def check_lock() -> tuple[list[str], int]:
    """Compare parameters, dependencies, outputs and the outputs' cache objects with dvc.lock.

    Returns:
        A line for each that does not agree, and how many files were compared.

    Raises:
        InputError: There is no dvc.lock, it cannot be read, or nothing that it names is here.
    """
    stages = read_lock()
    dvc_folder = find_dvc_folder()
    if dvc_folder is None:
        raise InputError(f"{Path.cwd()}: is in no DVC repository; run this at the top of the project")
    if not has_outputs(stages, dvc_folder=dvc_folder):
        raise InputError(
            "verify: nothing was made here yet; make it with: dvc repro (or get it with: dvc pull)"
        )
    values = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    problems: list[str] = []
    num_files = 0
    for stage, recorded in stages.items():
        lines = list(_compare_params(recorded.get("params", {}).get("params.yaml", {}), values))
        for entry in recorded.get("deps", []):
            lines += _compare_files(entry)
        for entry in recorded.get("outs", []):
            num_files += len(list_files(Path(entry["path"])))
            lines += _compare_files(entry, if_unchanged=_IF_OVERLOOKED)
            lines += _rehash_objects(entry, dvc_folder=dvc_folder)
        problems += [f"{stage}: {line}" for line in lines]
    return problems, num_files


def check_artifacts(params: Params) -> list[str]:
    """Check each artifact by the hashes it holds, and the inputs recorded in it against those that are here.

    Returns:
        A line for each that does not agree.
    """
    checks = (
        _check_images,
        _check_prepared,
        _check_checkpoints,
        _check_history,
        _check_report,
        _check_export,
    )
    return [problem for check in checks for problem in _lines_of(check, params)]


def check_rerun(params: Params) -> list[str]:
    """Train from the first step in a temporary folder.

    Returns:
        A line for each file that came out differently.
    """
    weights = Path(params.network.weights_file)
    with TemporaryDirectory(prefix="darkroom-verify-") as name:
        # Deep enough that `../weights.pth` stays inside the temporary folder.
        folder = Path(name, *["deeper"] * weights.parts.count(".."), "project")
        _lay_out(folder, weights)
        done = subprocess.run(
            [sys.executable, "-m", "stages.train"],
            cwd=folder,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("DVC_")},
                "PYTHONPATH": str(CODE_ROOT),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            last_lines = done.stdout.splitlines()[-_NUM_LAST_LINES:]
            return [f"training again failed: {printable(line)}" for line in last_lines]
        return [
            f"{file}: training again gives other bytes"
            for output in (MODEL, DVCLIVE, METRICS / "train.json")
            for file in sorted(_relative_files(Path(), output) | _relative_files(folder, output))
            if _sha256_or_none(file) != _sha256_or_none(folder / file)
        ]


def _compare_params(recorded: Entry, values: Entry) -> Iterator[str]:
    before, now = _flatten(recorded), _flatten({section: values.get(section) for section in recorded})
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield (
                f"{key}: dvc.lock says {json.dumps(before.get(key))}, params.yaml "
                f"{json.dumps(now.get(key))}; bring the results up to date with: dvc repro"
            )


def _flatten(sections: Entry) -> dict[str, object]:
    return {key: value for section, content in sections.items() for key, value in leaves(section, content)}


def _compare_files(entry: Entry, *, if_unchanged: str = "") -> Iterator[str]:
    """Compare a file or folder with its MD5 in dvc.lock."""
    path = Path(entry["path"])
    if not path.exists():
        yield f"{path}: is missing; bring it back with: dvc checkout"
    elif hash_path(path) != entry["md5"]:
        yield f"{path}: differs from dvc.lock; bring it up to date with: dvc repro{if_unchanged}"


def _rehash_objects(entry: Entry, *, dvc_folder: Path) -> Iterator[str]:
    """Rehash what the cache holds of an output: it is what `dvc checkout` would bring back."""
    for name, md5 in list_objects(entry, dvc_folder=dvc_folder).items():
        path = find_object(md5, dvc_folder=dvc_folder)
        if not path.is_file():
            yield f"{printable(name)}: is missing from the cache; {MEND}"
        elif hash_for_dvc(path) != md5.removesuffix(".dir"):
            yield (
                f"{printable(name)}: is damaged in the cache, as {md5}, and DVC would hand it out again; "
                f"{MEND}; dvc repro"
            )


def _lines_of(check: Callable[[Params], list[str]], params: Params) -> list[str]:
    """Return a check's lines; an artifact that cannot be read is one."""
    try:
        return check(params)
    except InputError as error:
        return str(error).splitlines()
    except FileNotFoundError as error:
        return [f"{error.filename}: there is no such file; re-create it with: dvc repro"]


def _check_images(params: Params) -> list[str]:
    ingested, _ = read_ingested(IMAGES)
    inputs = record_inputs("ingest", params, read_params)
    expected = inputs.describe(data_sha256=ingested.table.sha256).fingerprint
    return _compare_fingerprint(COUNTS / "ingest.json", expected)


# These import torch, which takes seconds: not before the arguments and params.yaml are known to be right.


def _check_prepared(params: Params) -> list[str]:
    from stages.vision.dataset import read_manifest

    read_manifest(PREPARED)
    inputs = record_inputs("prepare-dataset", params, read_params)
    expected = inputs.describe(data_sha256=sha256_of(IMAGES / "manifest.json")).fingerprint
    return _compare_fingerprint(COUNTS / "prepare.json", expected)


def _check_checkpoints(params: Params) -> list[str]:
    from stages.vision.checkpoint import read_checkpoint
    from stages.vision.runtime import find_version

    expected = record_inputs("train", params, read_params).describe(
        data_sha256=sha256_of(PREPARED / "manifest.json")
    )
    problems = []
    for name in ("best", "last"):
        path = MODEL / f"{name}.safetensors"
        checkpoint, _ = read_checkpoint(path)
        problems += [
            f"{path}: was trained with other {part} than are here; train again with: dvc repro"
            for part, recorded in checkpoint.inputs
            if recorded != getattr(expected, part)
        ]
        problems += [
            f"{path}: was trained with {library} {before}, installed is {now}; "
            "train again with: dvc repro --force train"
            for library, before in checkpoint.libraries.items()
            if before != (now := find_version(library))
        ]
    return problems


def _check_history(params: Params) -> list[str]:
    read_sealed_json(MODEL / "history.json", History, made_by=MAKE_MODEL)
    return []


def _check_report(params: Params) -> list[str]:
    data = hash_json([sha256_of(path) for path in list_tested(params.evaluation.checkpoint)])
    inputs = record_inputs("evaluate", params, read_params)
    return _compare_fingerprint(REPORT / "metrics.json", inputs.describe(data_sha256=data).fingerprint)


def _check_export(params: Params) -> list[str]:
    manifest = read_sealed_json(EXPORT / "manifest.json", ExportManifest, made_by=MAKE_EXPORT)
    for record in manifest.files:
        check_file(EXPORT, record, made_by=MAKE_EXPORT)
    data = hash_json([sha256_of(path) for path in list_exported(params.export.checkpoint)])
    inputs = record_inputs("export", params, read_params)
    return _compare_fingerprint(EXPORT / "manifest.json", inputs.describe(data_sha256=data).fingerprint)


def _compare_fingerprint(path: Path, expected: str) -> list[str]:
    advice = "re-create it with: dvc repro"
    try:
        recorded = json.loads(path.read_bytes())["fingerprint"]
    except FileNotFoundError:
        return [f"{path}: there is no such file; {advice}"]
    except (ValueError, KeyError, TypeError):
        return [f"{path}: is damaged; {MEND}; dvc repro"]
    if recorded != expected:
        return [f"{path}: was made from other parameters, code or data than are here; {advice}"]
    return []


def _lay_out(folder: Path, weights: Path) -> None:
    """Create a folder in which train finds everything that it found here, except a saved state."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
    for path in (IMAGES, PREPARED, weights):
        if not path.is_absolute():
            link = Path(os.path.normpath(folder / path))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())


def _relative_files(root: Path, output: Path) -> set[Path]:
    found = root / output
    files = [found] if found.is_file() else found.rglob("*")
    return {file.relative_to(root) for file in files if file.is_file()}


def _sha256_or_none(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


if __name__ == "__main__":
    run_stage(main)
