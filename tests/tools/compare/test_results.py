"""Which images are compared, and which runs are one configuration."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.shared.errors import InputError
from tests.tools.compare.results import make_result
from tools.compare.results import check_tested, join_seeds, match_images, read_result

LABELS = [0, 0, 1, 1]


def test_runs_that_differ_in_their_seed_are_one_configuration() -> None:
    """Another seed joins, the same seed again does not, and neither does another parameter."""
    parameters = [
        {"training.seed": 0, "optimizer.lr": 0.1},
        {"training.seed": 1, "optimizer.lr": 0.1},
        {"training.seed": 1, "optimizer.lr": 0.2},
        {"training.seed": 0, "optimizer.lr": 0.1},
    ]
    results = [
        make_result(LABELS, LABELS, revision=str(number), parameters=each)
        for number, each in enumerate(parameters)
    ]
    assert [each.name for each in join_seeds(results)] == ["0, 1", "2", "3"]


def test_a_model_that_was_not_tested_is_refused() -> None:
    """As a trial of tools.tune, whose dvc.lock still names the predictions of the commit before."""
    tested = _LOCK.replace("md5: 1.dir", "md5: 9.dir", 1)
    check_tested("HEAD", _LOCK)
    with pytest.raises(InputError, match="finish it with: dvc exp apply tune-1a-3 && dvc repro"):
        check_tested("tune-1a-3", tested)


def test_images_are_paired_by_their_bytes() -> None:
    """Order and paths may differ; classes too may stand in another order."""
    first = make_result([0, 1, 1, 1], LABELS, images=["a", "b", "c", "d"])
    other = make_result([0, 0, 1, 1], [0, 0, 1, 1], images=["d", "c", "b", "a"], classes=("dog", "cat"))
    keys = match_images([first, other], shared_only=False)
    assert keys == first.keys
    predictions = other.select(keys, first.classes)
    assert predictions.labels.tolist() == LABELS
    assert predictions.predicted.tolist() == [0, 0, 1, 1]
    assert predictions.confidence == pytest.approx(np.full(4, 0.8))
    assert predictions.losses == pytest.approx(-np.log(np.full(4, 0.8)))


def test_other_test_images_are_refused() -> None:
    """The line says how many are shared, and what to do; with --shared those are compared."""
    first = make_result(LABELS, LABELS, images=["a", "b", "c", "d"])
    other = make_result(LABELS, LABELS, images=["b", "a", "d", "e"], revision="more")
    with pytest.raises(InputError, match=r"more: was tested on 4 images, main on 4; shared: 3.*--shared"):
        match_images([first, other], shared_only=False)
    assert match_images([first, other], shared_only=True) == [("a", 0), ("b", 0), ("d", 0)]


def test_no_shared_image_is_refused() -> None:
    """Nothing can be compared, --shared or not."""
    first = make_result(LABELS, LABELS, images=["a", "b", "c", "d"])
    other = make_result(LABELS, LABELS, images=["e", "f", "g", "h"], revision="more")
    for shared_only in (False, True):
        with pytest.raises(InputError, match="no test image"):
            match_images([first, other], shared_only=shared_only)


def test_other_classes_are_refused() -> None:
    """Each side's own classes are named."""
    first = make_result(LABELS, LABELS)
    other = make_result(LABELS, LABELS, classes=("cat", "wolf"), revision="wild")
    with pytest.raises(
        InputError, match=r"other classes than main \(only main has dog; only wild has wolf\)"
    ):
        match_images([first, other], shared_only=True)


def test_other_labels_are_refused() -> None:
    """An image that was relabelled would count as fixed or broken."""
    first = make_result(LABELS, LABELS)
    other = replace(make_result(LABELS, [0, 0, 1, 0]), revision="relabelled")
    with pytest.raises(
        InputError, match=r"1 test images? ha.* another label .*image3\.png \(dog, there cat\)"
    ):
        match_images([first, other], shared_only=False)


_LOCK = """
stages:
  train:
    params: {params.yaml: {training: {seed: 3}}}
    outs: [{path: data/model, md5: 1.dir}, {path: data/prepared, md5: 2.dir}]
  evaluate:
    deps: [{path: data/model, md5: 1.dir}, {path: data/prepared, md5: 2.dir}]
"""
_HEADER = "path,label,predicted,probability,probability:cat,probability:dog\n"
_ROW = "a.png,cat,dog,0.8,0.2,0.8\n"


def write_workspace(root: Path, *, lock: str = _LOCK, predictions: str = _HEADER + _ROW) -> None:
    scores = {"loss": 1.0, "accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 0.5}
    epoch = {"epoch": 1, "lr": 0.1, "train_loss": 1.0, "train_accuracy": 0.5, "val": scores}
    history = {
        "sha256": "0",
        "best_metric": "loss",
        "best_epoch": 1,
        "num_parameters": 1,
        "ended_by": "num_epochs",
        "is_repeatable": True,
        "epochs": [epoch],
    }
    files = {
        "dvc.lock": lock,
        "data/report/predictions.csv": predictions,
        "data/prepared/index.csv": "path,split,sha256,group\na.png,test,ff,g\nb.png,train,ee,\n",
        "data/model/history.json": json.dumps(history),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_the_workspace_is_what_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions, groups and parameters come from its files."""
    monkeypatch.chdir(tmp_path)
    write_workspace(tmp_path)
    result = read_result("workspace")
    assert (result.paths, result.groups, result.keys) == (["a.png"], ["g"], [("ff", 0)])
    assert (result.labels.tolist(), result.predicted.tolist(), result.num_train) == ([0], [1], 1)
    assert result.parameters == {"training.seed": 3}


@pytest.mark.parametrize(
    ("predictions", "line"),
    [
        ("", "is not as this version of darkroom writes it"),
        ("hello", "is not as this version of darkroom writes it"),
        (_HEADER, "is not as this version of darkroom writes it"),
        (_HEADER + _ROW.replace("dog", "wolf"), "is not as this version of darkroom writes it"),
        (_HEADER + _ROW.replace("a.png", "c.png"), "is not as this version of darkroom writes it"),
        (_HEADER + _ROW + _ROW.strip() + ",1", "is not as this version of darkroom writes it"),
        (_HEADER + _ROW.replace("cat,dog", "cat,cat"), "a predicted class is not the most probable"),
        (_HEADER + _ROW.replace("0.2", "nan"), "a predicted class is not the most probable"),
    ],
)
def test_edited_predictions_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictions: str, line: str
) -> None:
    """Whatever a hand made of the table, no number is made of it."""
    monkeypatch.chdir(tmp_path)
    write_workspace(tmp_path, predictions=predictions)
    with pytest.raises(InputError, match=line) as raised:
        read_result("workspace")
    assert "\n" not in str(raised.value)


def test_an_unfinished_pipeline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was trained after the report, a report that is not there, and no evaluation at all."""
    monkeypatch.chdir(tmp_path)
    write_workspace(tmp_path, lock=_LOCK.replace("md5: 1.dir", "md5: 9.dir", 1))
    with pytest.raises(InputError, match="trained again, but not evaluated; finish it with: dvc repro"):
        read_result("workspace")
    write_workspace(tmp_path)
    (tmp_path / "data/report/predictions.csv").unlink()
    with pytest.raises(InputError, match=r"has no data/report/predictions.csv; finish it with: dvc repro"):
        read_result("workspace")
    write_workspace(tmp_path, lock="stages: {}")
    with pytest.raises(InputError, match="has no results; evaluate it with: dvc repro"):
        read_result("workspace")
