"""What the results say of themselves, against what is here."""

import json
from collections.abc import Callable
from pathlib import Path

from schemas.params import Params
from schemas.vision.history import History
from stages.params.read import read_params
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json, sha256_of
from stages.shared.inputs import hash_json, record_inputs
from stages.shared.paths import METRICS, MODEL, PREPARED, list_tested
from stages.vision.checkpoint import read_checkpoint
from stages.vision.dataset import read_manifest
from stages.vision.runtime import find_version


def check_records(params: Params) -> list[str]:
    """Check the bytes of every artifact by the hashes in it, and the inputs recorded in it.

    Returns:
        A line for each that does not agree.
    """
    return [
        problem
        for check in (_check_prepared, _check_checkpoint, _check_history, _check_report)
        for problem in _lines_of(check, params)
    ]


def _lines_of(check: Callable[[Params], list[str]], params: Params) -> list[str]:
    """Return a check's lines; an artifact that cannot be read is one."""
    try:
        return check(params)
    except InputError as error:
        return str(error).splitlines()


def _check_prepared(params: Params) -> list[str]:
    manifest = read_manifest(PREPARED)
    inputs = record_inputs("prepare-dataset", params, read_params)
    expected = inputs.describe(data_sha256=manifest.index.sha256).fingerprint
    return _compare_fingerprint(METRICS / "prepare.json", expected)


def _check_checkpoint(params: Params) -> list[str]:
    expected = record_inputs("train", params, read_params).describe(
        data_sha256=sha256_of(PREPARED / "manifest.json")
    )
    problems = []
    for name in ("best", "last"):
        path = MODEL / f"{name}.safetensors"
        checkpoint, _ = read_checkpoint(path)
        for part, recorded in checkpoint.inputs:
            if recorded != getattr(expected, part):
                problems.append(
                    f"{path}: was trained by other {part} than are here; train anew with: dvc repro"
                )
        for library, before in checkpoint.libraries.items():
            if before != (now := find_version(library)):
                problems.append(
                    f"{path}: was trained with {library} {before}, here is {now}; "
                    "train anew with: dvc repro --force train"
                )
    return [*problems, *_compare_fingerprint(METRICS / "train.json", expected.fingerprint)]


def _check_history(params: Params) -> list[str]:
    read_sealed_json(MODEL / "history.json", History, made_by="dvc repro train")
    return []


def _check_report(params: Params) -> list[str]:
    data = hash_json([sha256_of(path) for path in list_tested(params.evaluation.checkpoint)])
    inputs = record_inputs("evaluate", params, read_params)
    return _compare_fingerprint(METRICS / "test.json", inputs.describe(data_sha256=data).fingerprint)


def _compare_fingerprint(path: Path, expected: str) -> list[str]:
    advice = "re-create it with: dvc repro"
    try:
        recorded = json.loads(path.read_bytes())["fingerprint"]
    except FileNotFoundError:
        return [f"{path}: there is no such file; {advice}"]
    except (ValueError, KeyError, TypeError):
        return [f"{path}: is damaged; {advice}"]
    if recorded != expected:
        return [f"{path}: was made of other parameters, code or data than are here; {advice}"]
    return []
