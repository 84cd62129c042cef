"""predict with an exported model: without torch, and with the table that its checkpoint gives."""

import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from stages.export.onnx_model import build_file, read_onnx
from stages.shared.errors import InputError
from tests.images.trees import encode, write_folder
from tests.tools.predict.models import CLASSES
from tests.vision.completeness import ROOT
from tests.vision.torch_state import keep_torch_settings
from tools.predict.__main__ import main

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None  # importing it fails
try:
    runpy.run_module("tools.predict", run_name="__main__")
except SystemExit as done:
    assert sys.modules["torch"] is None
    sys.exit(done.code)
"""


@pytest.fixture
def project(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with both models and 200 pictures in class folders the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.safetensors", "net.onnx"):
        shutil.copy(models / name, name)
    generator = np.random.default_rng(0)
    pictures = {
        f"photos/{CLASSES[number % 3]}/{number:03}.png": encode(
            np.full((*generator.integers(5, 40, 2), 3), generator.integers(0, 256, 3), dtype=np.uint8)
        )
        for number in range(200)
    }
    write_folder(tmp_path, pictures)
    return tmp_path


def predict(monkeypatch: pytest.MonkeyPatch, *arguments: str, model: str = "net.onnx") -> str:
    """Run the command in this process and return what it wrote to stdout."""
    monkeypatch.setattr(sys, "argv", ["predict", "photos", "--checkpoint", model, *arguments])
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with keep_torch_settings(), pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, 3)
    return out.getvalue()


def refuse(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run the command, which must end by one line, and return that."""
    monkeypatch.setattr(sys, "argv", ["predict", "photos", *arguments])
    with keep_torch_settings(), pytest.raises(InputError) as caught:
        main()
    message = str(caught.value)
    assert message.isprintable()
    return message


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def run_without_torch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("project")
def test_the_table_is_that_of_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Column by column, `accepted`, `reason`, `label` and sets too; probabilities to float32's digits.

    A class is called unknown, which means nothing but that class.
    """
    arguments = ("--coverage", "0.7", "--score", "--top-k", "9")
    expected = read_csv(predict(monkeypatch, *arguments, model="net.safetensors"))
    told = capsys.readouterr().err.splitlines()[-1]
    found = read_csv(predict(monkeypatch, *arguments))
    assert capsys.readouterr().err.splitlines()[-1] == told
    assert len(found) == 200
    assert {row["accepted"] for row in found} == {"true", "false"}
    assert {"ant", "unknown"} <= {row["predicted"] for row in found}
    for row, other in zip(found, expected, strict=True):
        assert list(row) == list(other)
        for column, value in row.items():
            if column.startswith("probability"):
                assert float(value) == pytest.approx(float(other[column]), abs=1e-5)
            else:
                assert value == other[column], column


@pytest.mark.usefixtures("project")
def test_a_prediction_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 pictures, one by one, in sevens and in 64s, by one process or three: the same bytes."""
    tables = {
        predict(monkeypatch, "--batch-size", batch_size, "--workers", workers, "--top-k", "9")
        for batch_size, workers in (("1", "3"), ("7", "1"), ("64", "3"))
    }
    assert len(tables) == 1


def test_torch_is_not_imported(project: Path) -> None:
    """Whatever is asked for."""
    arguments = ("--coverage", "0.7", "--score", "--embeddings", "features.npy")
    done = run_without_torch("photos", "--checkpoint", "net.onnx", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(read_csv(done.stdout)) == 200
    assert np.load("features.npy").shape[0] == 200

    program = (
        "import sys; sys.modules['torch'] = None; from tools.predict import load; "
        "print(load('net.onnx').predict(['photos/ant/000.png'])[0].predicted)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in CLASSES


@pytest.mark.usefixtures("project")
def test_a_package_that_is_missing(tmp_path: Path) -> None:
    """One line says how to install it."""
    write_folder(tmp_path, {"broken/onnxruntime.py": b"raise ImportError\n"})
    done = run_without_torch("photos", "--checkpoint", "net.onnx", PYTHONPATH=f"{tmp_path}/broken:{ROOT}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("net.onnx: the library onnxruntime, which runs it, is not installed; ")
    assert "install" in done.stderr.split("; ")[1]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("net.pth", b"PK\x03\x04" + bytes(99), "is a zip archive, as torch.save and torch.export write"),
        ("net.pt2", b"PK\x03\x04" + bytes(99), "is a zip archive, as torch.save and torch.export write"),
        ("net.pkl", b"\x80\x02}q\x00." + bytes(99), "is a pickle, which is never opened"),
        ("net.txt", b"weights\nto come\n", "is text"),
        ("net.jpg", b"\xff\xd8\xff\xe0" + bytes(99), "is a JPEG image"),
        ("net.bin", bytes(999), "is no model of darkroom"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_file_of_another_kind(
    monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, message: str
) -> None:
    """The line says what it is, and what is allowed."""
    Path(name).write_bytes(data)
    told = refuse(monkeypatch, "--checkpoint", name)
    assert told.startswith(f"{name}: {message}")
    assert told.endswith(
        "; allowed: a checkpoint that train wrote (.safetensors), or an ONNX file that export wrote (.onnx)"
    )


@pytest.mark.usefixtures("project")
def test_an_exported_model_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes say what it is, as in DVC's cache, where files have no names."""
    expected = predict(monkeypatch)
    shutil.copy("net.onnx", "0f3a9c")
    shutil.copy("net.safetensors", "77aa01")
    assert predict(monkeypatch, model="0f3a9c") == expected
    assert len(predict(monkeypatch, model="77aa01").splitlines()) == 201


@pytest.mark.usefixtures("project")
def test_a_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any byte that differs, and a file cut short or empty; nothing is predicted."""
    data = Path("net.onnx").read_bytes()
    places = np.random.default_rng(0).integers(0, len(data), 40).tolist()
    mutants = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (*places, 0, 1, len(data) - 1)]
    for mutant in (*mutants, data[:-1], data[: len(data) // 2], b"", b"\x08"):
        Path("bad.onnx").write_bytes(mutant)
        assert refuse(monkeypatch, "--checkpoint", "bad.onnx").startswith("bad.onnx: ")


@pytest.mark.usefixtures("project")
def test_an_onnx_file_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says what its classes and its preprocessing are."""
    tensor = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "g", [tensor], [result])
    onnx.save(onnx.helper.make_model(graph), "other.onnx")
    told = refuse(monkeypatch, "--checkpoint", "other.onnx")
    assert "its metadata has no entry darkroom" in told
    assert told.endswith("export one with: dvc repro export")


@pytest.mark.usefixtures("project")
def test_a_runtime_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the version of the operators that the file needs."""
    model = onnx.load("net.onnx")
    del model.metadata_props[:]
    model.opset_import[0].version = 999
    graph = model.SerializeToString()
    exported = read_onnx(Path("net.onnx")).exported
    changed = exported.model_copy(update={"opset": 999, "graph_sha256": hashlib.sha256(graph).hexdigest()})
    Path("new.onnx").write_bytes(build_file(graph, changed))
    told = refuse(monkeypatch, "--checkpoint", "new.onnx")
    assert told.startswith("new.onnx: onnxruntime ")
    assert "needs opset 999" in told
    assert "upgrade onnxruntime" in told


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.usefixtures("project")
def test_other_devices_are_for_checkpoints(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """The line says what runs there."""
    assert refuse(monkeypatch, "--checkpoint", "net.onnx", "--device", device) == (
        f"--device: found {device}, and net.onnx is an exported model, which runs on the CPU; "
        "allowed: auto, cpu; a checkpoint runs on other devices"
    )


def test_a_missing_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how to make it."""
    told = refuse(monkeypatch, "--checkpoint", "none.onnx")
    assert told == "none.onnx: there is no such ONNX file; make it with: dvc repro export"
    os.mkfifo(project / "pipe.onnx")
    assert refuse(monkeypatch, "--checkpoint", "pipe.onnx").startswith("pipe.onnx: is no darkroom ONNX file")
