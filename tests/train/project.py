"""A folder to run stages in: params.yaml of the project, changed, above a tiny prepared data set."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.audit.finding import FindingRow
from schemas.shared.manifest import Manifest
from stages.shared.files import write_checksum
from tests.vision.completeness import read_params_file
from tests.vision.prepared import write_prepared

SMALL = {
    "dataset.height_px": 6,
    "dataset.width_px": 9,
    "loader.batch_size": 5,
    "network.cnn.channels": [4, 4],
    "network.resnet.widths": [4, 4],
    "network.airbench.widths": [4, 4],
    "training.num_epochs": 3,
    "training.threads": 1,
    "evaluation.num_worst": 2,
}


def make_project(folder: Path, monkeypatch: pytest.MonkeyPatch, **prepared: Any) -> Manifest:
    """Write a prepared data set and parameters, and make the folder the current one."""
    monkeypatch.chdir(folder)
    for name in ("DVC_ROOT", "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    (folder / ".dvc").mkdir(exist_ok=True)
    write_params(folder)
    (folder / "data" / "audit").mkdir(parents=True)
    findings = folder / "data" / "audit" / "findings.csv"
    findings.write_text(",".join(FindingRow.model_fields) + "\n")
    write_checksum(findings)
    return write_prepared(folder / "data" / "prepared", **prepared)


def write_params(folder: Path, **changes: Any) -> None:
    """Write params.yaml with changes to dotted keys, a dot being two underscores."""
    params = read_params_file()
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    for key, value in {**SMALL, **dotted}.items():
        *sections, name = key.split(".")
        section = params
        for part in sections:
            section = section[part]
        assert name in section, f"params.yaml has no {key}"
        section[name] = value
    (folder / "params.yaml").write_text(json.dumps(params, indent=1), encoding="utf-8")


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
