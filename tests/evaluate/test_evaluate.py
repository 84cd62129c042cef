"""The evaluate stage as a whole, on a tiny prepared data set and a network trained on it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from schemas.evaluate.test_metrics import TestRecord
from schemas.shared.manifest import IndexRow
from schemas.vision.checkpoint import History
from stages.evaluate import stage
from stages.evaluate.__main__ import main
from stages.evaluate.examples import Examples, collect_examples
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json
from stages.shared.paths import METRICS, MODEL, PREPARED, REPORT
from stages.train.__main__ import main as train
from stages.vision.checkpoint import hash_weights, read_checkpoint, write_checkpoint
from stages.vision.dataset import PreparedImages, read_manifest
from tests.train.project import hash_files, make_project, write_params
from tests.vision.completeness import ROOT
from tests.vision.prepared import write_prepared
from tests.vision.torch_state import keep_torch_settings

OUTPUTS = {
    "metrics/test.json",
    "report/classes.csv",
    "report/confusion.csv",
    "report/corruptions.csv",
    "report/suspected_labels.csv",
    "report/metrics.csv",
    "report/metrics.json",
    "report/precision_recall.csv",
    "report/predictions.csv",
    "report/reliability.csv",
    "report/report.html",
    "report/summary.md",
    "report/roc.csv",
    "report/subgroups.csv",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with prepared data and a trained network."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch, keep_torch_settings():
        make_project(folder, monkeypatch)
        write_params(folder, optimizer__lr=0.03, training__num_epochs=4)
        train()
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a copy of that folder, which is the current one."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with keep_torch_settings():
        yield tmp_path


def evaluate(folder: Path, **changes: Any) -> dict[str, str]:
    """Run the stage with changed parameters and return the hash of every file it wrote."""
    write_params(folder, **changes)
    main()
    hashes = hash_files(folder / "data")
    others = ("images/", "prepared/", "audit/", "model/", "dvclive/", "metrics/train.json")
    return {name: value for name, value in hashes.items() if not name.startswith(others)}


def read_predictions() -> list[dict[str, str]]:
    """Return the rows of predictions.csv."""
    with (REPORT / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_outputs_are_those_of_the_pipeline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stage writes the metrics, the tables and the report, nothing else, and says so."""
    assert evaluate(folder).keys() == OUTPUTS
    assert "9 test images" in capsys.readouterr().out


def test_two_runs_write_the_same_bytes(folder: Path) -> None:
    """Every file of a second run has the same hash."""
    first = evaluate(folder)
    shutil.rmtree(REPORT)
    torch.manual_seed(5)
    assert evaluate(folder) == first


def test_metrics_are_those_of_the_predictions(folder: Path) -> None:
    """The metrics follow from predictions.csv, which lists every test image under its path."""
    evaluate(folder, evaluation__top_k=2)
    metrics = TestRecord.model_validate_json((REPORT / "metrics.json").read_bytes())
    rows = read_predictions()
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    classes = ["ant", "bee", "cat"]
    probabilities = [[float(row[f"probability:{name}"]) for name in classes] for row in rows]
    with (PREPARED / "index.csv").open(encoding="utf-8", newline="") as file:
        expected = [(row["path"], row["label"]) for row in csv.DictReader(file) if row["split"] == "test"]
    assert [(row["path"], row["label"]) for row in rows] == expected
    assert "accuracy_without_leaks" not in json.loads((METRICS / "test.json").read_bytes())
    assert metrics.num_images == len(rows) == 9
    assert metrics.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert metrics.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert metrics.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert metrics.log_loss == pytest.approx(reference.log_loss(labels, probabilities, labels=classes))
    expected_top = reference.top_k_accuracy_score(labels, probabilities, k=2, labels=classes)
    assert metrics.top_k_accuracy == pytest.approx(expected_top)
    with (REPORT / "confusion.csv").open(encoding="utf-8", newline="") as file:
        pairs = [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
    assert pairs == list(zip(labels, predicted, strict=True))


def test_what_dvc_compares_is_few(folder: Path) -> None:
    """data/metrics/test.json holds the headline metrics alone; data/report/metrics.json has them all."""
    evaluate(folder)
    headline = json.loads((METRICS / "test.json").read_text())
    assert list(headline) == ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece", "coverage"]
    assert headline.items() <= json.loads((REPORT / "metrics.json").read_text()).items()


def test_examples_show_what_the_network_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a center crop a heatmap covers the crop, so the picture below it is cropped too."""
    shown: list[Examples] = []

    def collect(*arguments: Any, **named: Any) -> Examples:
        shown.append(collect_examples(*arguments, **named))
        return shown[0]

    make_project(tmp_path, monkeypatch)
    crop = {"CenterCrop": {"height_px": 4, "width_px": 5}}
    normalize = {"Normalize": {"mean": "dataset", "std": "dataset"}}
    monkeypatch.setattr(stage, "collect_examples", collect)
    with keep_torch_settings():
        write_params(tmp_path, transforms=[crop, "ToTensor", normalize], training__num_epochs=1)
        train()
        main()
    assert {example.image.shape for example in shown[0].uncertain} == {(4, 5, 1)}
    paths = [row["path"] for row in read_predictions()]
    packed = PreparedImages(PREPARED, read_manifest(PREPARED), "test")
    for example in shown[0].uncertain:
        assert np.array_equal(example.image, packed.pixels(paths.index(example.path))[1:5, 2:7])


@pytest.mark.parametrize(
    "changes",
    [
        {"network__cnn__channels": [64, 8]},
        {"network__cnn__kernel_size": 5},
        {"transforms": ["ToTensor", {"Normalize": {"mean": [0.9], "std": [0.01]}}]},
        {"training__seed": 9},
        {"training__threads": 3},
        {"training__precision": "bfloat16"},
        {"loss__name": "focal"},
        {"loader__batch_size": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_checkpoint_alone_decides_what_is_tested(folder: Path, changes: dict[str, Any]) -> None:
    """Network, preprocessing and numerics are the checkpoint's, whatever params.yaml says by now."""
    expected = evaluate(folder)
    torch.set_num_threads(2)
    assert evaluate(folder, **changes) == expected
    assert torch.get_num_threads() == 1  # as in training; the number changes the last bits of large sums


def test_named_checkpoint_is_tested(folder: Path) -> None:
    """evaluation.checkpoint chooses between the best epoch and the last."""
    evaluate(folder, evaluation__checkpoint="last")
    last = read_predictions()
    shutil.copy(MODEL / "last.safetensors", MODEL / "best.safetensors")
    evaluate(folder, evaluation__checkpoint="best")
    assert read_predictions() == last
    (MODEL / "last.safetensors").unlink()
    evaluate(folder, evaluation__checkpoint="best")


@pytest.mark.parametrize(
    "changes", [{"top_k": 50}, {"batch_size": 1}, {"batch_size": 4}, {"num_worst": 0}], ids=str
)
def test_evaluation_parameters_keep_the_predictions(folder: Path, changes: dict[str, int]) -> None:
    """K beyond the number of classes, any batch size and no pictures leave the predictions unchanged."""
    evaluate(folder)
    expected = [row["predicted"] for row in read_predictions()]
    evaluate(folder, **{f"evaluation__{name}": value for name, value in changes.items()})
    assert [row["predicted"] for row in read_predictions()] == expected
    top = TestRecord.model_validate_json((REPORT / "metrics.json").read_bytes()).top_k_accuracy
    assert top == 1.0  # there are three classes, and params.yaml says 3


def refuse(folder: Path, message: str, **changes: Any) -> None:
    """Evaluate under the changes, and expect an error of one line that leaves the earlier report alone."""
    with pytest.raises(InputError, match=message) as caught:
        evaluate(folder, **changes)
    assert "\n" not in str(caught.value)
    assert (REPORT / "report.html").read_text(encoding="utf-8") == "earlier"
    assert not list(REPORT.parent.glob("*.partial"))


def test_corruptions_and_subgroups(folder: Path) -> None:
    """Each corruption is tested at three severities, the same in any batch; any column gives subgroups."""
    names = ["image_size", "brightness", *IndexRow._fields]
    first = evaluate(folder, evaluation__corruptions="standard", evaluation__slices=names)
    again = evaluate(folder, evaluation__corruptions="standard", evaluation__batch_size=2)
    assert first["report/corruptions.csv"] == again["report/corruptions.csv"]
    with (REPORT / "corruptions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["severity"] for row in rows] == ["1", "2", "3"] * 6
    evaluate(folder, evaluation__slices=names)
    with (REPORT / "subgroups.csv").open(newline="") as file:
        counts = [(row["attribute"], int(row["num_images"])) for row in csv.DictReader(file)]
    assert {name: sum(count for by, count in counts if by == name) for name in names} == dict.fromkeys(
        names, 9
    )


@pytest.fixture
def reported(folder: Path) -> Path:
    """Return the folder with a report of an earlier run."""
    REPORT.mkdir()
    (REPORT / "report.html").write_text("earlier", encoding="utf-8")
    return folder


def test_missing_checkpoint_is_refused(reported: Path) -> None:
    """Without a checkpoint the message says how to make it."""
    (MODEL / "best.safetensors").unlink()
    refuse(reported, r"best\.safetensors: there is no such checkpoint; make it with: dvc repro train")


def test_damaged_checkpoint_is_refused(reported: Path) -> None:
    """A flipped bit in the weights is found."""
    path = MODEL / "best.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    refuse(reported, r"best\.safetensors: is damaged")


def test_missing_history_is_refused(reported: Path) -> None:
    """Without the history the message says how to make it."""
    (MODEL / "history.json").unlink()
    refuse(reported, r"history\.json: there is no such file; make it with: dvc repro train")


def test_other_data_is_refused(reported: Path) -> None:
    """Data prepared again since training may have moved test images into training; it is not tested on."""
    write_prepared(PREPARED, seed=1)
    refuse(reported, r"data/prepared: holds other images or another split .*again with: dvc repro train")


def test_other_classes_are_refused(reported: Path) -> None:
    """A checkpoint trained on other classes says so."""
    write_prepared(PREPARED, classes=("ant", "bee", "dog", "eel"))
    refuse(reported, "holds 4 classes that are not the checkpoint's 3; train again with: dvc repro train")


def test_weights_of_other_code_are_refused(reported: Path) -> None:
    """A checkpoint whose weights do not fit the network's code is refused in words."""
    checkpoint, _ = read_checkpoint(MODEL / "best.safetensors")
    weights = {"other": torch.zeros(1)}
    changed = checkpoint.model_copy(update={"weights_sha256": hash_weights(weights)})
    write_checkpoint(MODEL / "best.safetensors", changed, weights)
    refuse(reported, "do not fit the network cnn")


def test_missing_device_is_refused(reported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is not there is named by its key."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refuse(reported, r"^params\.yaml: evaluation\.device: found cuda", evaluation__device="cuda")


def test_report_shows_the_history(folder: Path) -> None:
    """The report is one file that names every class and the number of epochs."""
    evaluate(folder)
    report = (REPORT / "report.html").read_text(encoding="utf-8")
    history = read_sealed_json(MODEL / "history.json", History, made_by="")
    assert len(history.epochs) == 4
    assert all(name in report for name in ("ant", "bee", "cat"))


def test_one_image_of_each_class_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest data set, in colour, is trained on and tested."""
    with keep_torch_settings():
        make_project(
            tmp_path, monkeypatch, classes=("a", "b"), num_train=1, num_val=1, num_test=1, channels=3
        )
        write_params(tmp_path, dataset__color="rgb", training__num_epochs=1)
        train()
        evaluate(tmp_path, dataset__color="rgb")
    assert TestRecord.model_validate_json((REPORT / "metrics.json").read_bytes()).num_images == 2


SCRIPT = """
import json, sys
from stages.train.__main__ import main as train
from stages.evaluate.__main__ import main as evaluate
train()
evaluate()
print(json.dumps(sorted(sys.modules)))
"""


def test_another_process_writes_the_same_without_torchvision(folder: Path) -> None:
    """A new process gives every file the same hash; with the committed transforms torchvision stays out."""
    train()
    main()
    expected = hash_files(folder / "data")
    shutil.rmtree(MODEL)
    shutil.rmtree(REPORT)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "torch" in modules
    assert "torchvision" not in modules
    assert hash_files(folder / "data") == expected
