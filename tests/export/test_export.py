"""The export stage as a whole, on a tiny prepared data set and a network trained on it."""

import base64
import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schemas.export.export_metrics import ExportManifest
from stages.export import formats, libraries, web_page
from stages.export.__main__ import main
from stages.export.onnx_model import OnnxModel, read_onnx
from stages.export.torch_program import load_program
from stages.export.web_runtime import WebRuntime
from stages.shared.errors import InputError
from stages.shared.files import check_file, read_sealed_json
from stages.shared.paths import EXPORT, METRICS, MODEL, PREPARED
from stages.train.__main__ import main as train
from stages.vision.checkpoint import hash_weights, read_checkpoint, write_checkpoint
from stages.vision.dataset import PreparedImages, read_manifest
from tests.train.project import hash_files, make_project, write_params
from tests.vision.completeness import ROOT
from tests.vision.torch_state import keep_torch_settings

ALL = ["onnx", "onnx_int8", "torch_export"]
LOOSE = {"export__max_accuracy_drop": 1.0}
"""Of so few images one is many percent."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with prepared data, a trained network, and all formats of it."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as monkeypatch, keep_torch_settings():
        make_project(folder, monkeypatch)
        write_params(folder, optimizer__lr=0.03, training__num_epochs=2)
        train()
        write_params(folder, export__formats=ALL, **LOOSE)
        main()
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a copy of that folder, which is the current one."""
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with keep_torch_settings():
        yield tmp_path


def test_what_is_published(folder: Path) -> None:
    """A file for each format, the table, and a manifest with the SHA-256 of each."""
    manifest = read_sealed_json(EXPORT / "manifest.json", ExportManifest, made_by="")
    names = {"model.onnx", "model_int8.onnx", "model.pt2", "parity.csv"}
    assert {record.name for record in manifest.files} == names
    for record in manifest.files:
        check_file(EXPORT, record, made_by="")
    metrics = json.loads((METRICS / "export.json").read_text())
    assert list(metrics) == ALL
    assert metrics["onnx"]["agreement"] == metrics["torch_export"]["agreement"] == 1
    assert metrics["onnx"]["max_probability_change"] < 1e-5


def test_parity_is_that_of_the_published_files(folder: Path) -> None:
    """The predictions in the table are those of the files, run again on the packed pixels."""
    manifest = read_manifest(PREPARED)
    images = PreparedImages(PREPARED, manifest, "test")
    pixels = np.stack([images.pixels(index) for index in range(len(images))])
    program = torch.export.load(EXPORT / "model.pt2").module()
    computed = {
        "onnx": OnnxModel(read_onnx(EXPORT / "model.onnx")).compute_probabilities(pixels),
        "onnx_int8": OnnxModel(read_onnx(EXPORT / "model_int8.onnx")).compute_probabilities(pixels),
        "torch_export": program(torch.from_numpy(pixels))[0].detach().numpy(),
    }
    with (EXPORT / "parity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, probabilities in computed.items():
        expected = [manifest.classes[label] for label in probabilities.argmax(axis=1)]
        assert [row["exported"] for row in rows if row["format"] == name] == expected


def test_the_document_tells_where_the_model_came_from(folder: Path) -> None:
    """Classes, image form, calibration and hashes are the checkpoint's; no time, no path."""
    checkpoint, _ = read_checkpoint(MODEL / "best.safetensors")
    document = read_onnx(EXPORT / "model.onnx").exported
    for name in ("classes", "image", "calibration", "weights_sha256", "dataset_sha256"):
        assert getattr(document, name) == getattr(checkpoint, name), name
    assert document.fingerprint == checkpoint.inputs.fingerprint
    for path in EXPORT.glob("model*"):
        data = path.read_bytes()
        for trace in (b"site-packages", b"stack_trace", str(ROOT).encode(), str(folder).encode()):
            assert trace not in data, path


def test_the_same_bytes_in_another_folder_and_process(folder: Path) -> None:
    """Whatever Python's hash seed is."""
    before = hash_files(EXPORT)
    write_params(folder, export__formats=["onnx"], **LOOSE)
    run = subprocess.run(
        [sys.executable, "-m", "stages.export"],
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert hash_files(EXPORT)["model.onnx"] == before["model.onnx"]
    assert set(hash_files(EXPORT)) == {"manifest.json", "model.onnx", "parity.csv"}


def test_nothing_to_export_takes_no_library(folder: Path) -> None:
    """With `formats: []` the stage writes an empty manifest, and imports neither torch nor onnx."""
    write_params(folder)
    program = "import sys\nfrom stages.export.__main__ import main\nmain()\nprint(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert not {"torch", "onnx", "onnxruntime", "numpy"} & set(printed.splitlines()[-1].split())
    assert [path.name for path in EXPORT.iterdir()] == ["manifest.json"]
    assert json.loads((METRICS / "export.json").read_text()) == {}


def test_a_model_that_predicts_otherwise_is_not_published(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage fails, names the gate and images, and leaves what was published before."""
    before = hash_files(folder / "data")
    write_params(folder, export__formats=["torch_export"])

    def load_wrong(path: Path) -> Callable[[Any], Any]:
        compute = load_program(path)
        return lambda images: compute(images)[:, ::-1]

    monkeypatch.setattr(formats, "load_program", load_wrong)
    with pytest.raises(InputError) as refused:
        main()
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("export.min_agreement: torch_export predicts the checkpoint's class for 0")
    assert any(".png: torch_export says" in line or ".jpg: torch_export says" in line for line in lines)
    assert lines[-1].startswith("nothing was published")
    assert hash_files(folder / "data") == before


def test_a_checkpoint_in_bfloat16_passes_its_gates(folder: Path) -> None:
    """The graph computes in float32, and is compared with the checkpoint in float32."""
    path = MODEL / "best.safetensors"
    checkpoint, weights = read_checkpoint(path)
    numerics = checkpoint.numerics.model_copy(update={"precision": "bfloat16"})
    write_checkpoint(path, checkpoint.model_copy(update={"numerics": numerics}), weights)
    write_params(folder, export__formats=["torch_export"], export__min_agreement=0.5)
    main()
    metrics = json.loads((METRICS / "export.json").read_text())["torch_export"]
    assert metrics["max_probability_change"] < 1e-5
    with (EXPORT / "parity.csv").open(encoding="utf-8", newline="") as file:
        changes = [float(row["probability_change"]) for row in csv.DictReader(file)]
    assert max(changes) > 1e-5


def test_a_checkpoint_of_other_data_is_refused(folder: Path) -> None:
    """Its test images may have been trained on."""
    path = MODEL / "best.safetensors"
    checkpoint, weights = read_checkpoint(path)
    write_checkpoint(path, checkpoint.model_copy(update={"dataset_sha256": "0" * 64}), weights)
    write_params(folder, export__formats=["torch_export"])
    with pytest.raises(InputError, match="holds other images or another split than the checkpoint"):
        main()


def test_the_other_checkpoint_can_be_exported(folder: Path) -> None:
    """`export.checkpoint: last` exports the last epoch."""
    write_params(folder, export__formats=["torch_export"], export__checkpoint="last")
    main()
    _, weights = read_checkpoint(MODEL / "last.safetensors")
    extra = {"darkroom.json": ""}
    torch.export.load(EXPORT / "model.pt2", extra_files=extra)
    assert json.loads(extra["darkroom.json"])["weights_sha256"] == hash_weights(weights)


def test_a_missing_package_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is computed."""
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "onnxscript" else name)
    write_params(folder, export__formats=["onnx"])
    with pytest.raises(
        InputError, match="found onnx, which needs the package onnxscript; install with: pip install onnx"
    ):
        main()


def test_a_page_holds_the_model_that_the_gates_tested(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte that of the format onnx, whether that is asked for or not."""
    model = (EXPORT / "model.onnx").read_bytes()
    runtime = WebRuntime("export{a as InferenceSession,b as Tensor,c as env};", b"")
    for module in (libraries, web_page):
        monkeypatch.setattr(module, "load_web_runtime", lambda: runtime)
    write_params(folder, export__formats=["page"])
    main()
    assert {path.name for path in EXPORT.iterdir()} == {"manifest.json", "page.html", "parity.csv"}
    (packed,) = re.findall('id="packed-model">([^<]*)<', (EXPORT / "page.html").read_text(encoding="utf-8"))
    assert gzip.decompress(base64.b64decode(packed)) == model
    metrics = json.loads((METRICS / "export.json").read_text())
    assert metrics["page"]["agreement"] == 1
    assert metrics["page"]["num_bytes"] == (EXPORT / "page.html").stat().st_size
    with (EXPORT / "parity.csv").open(encoding="utf-8", newline="") as file:
        assert {row["format"] for row in csv.DictReader(file)} == {"page"}


def test_formats_are_named_once(folder: Path) -> None:
    """A format named twice is a slip."""
    write_params(folder, export__formats=["onnx", "onnx"])
    with pytest.raises(InputError, match=r"export.formats: .*each format once"):
        main()
