"""The tables beside the report come back from any CSV reader."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.evaluate.test_metrics import ClassScores
from stages.evaluate import predictions as predictions_module
from stages.evaluate import tables
from stages.evaluate.calibration import Reliability, bin_predictions
from stages.evaluate.corruptions import CorruptedAccuracy, Corruption
from stages.evaluate.curves import ClassCurves
from stages.evaluate.label_errors import LabelErrors
from stages.evaluate.metrics import Estimate
from stages.evaluate.subgroups import Subgroup
from stages.shared.errors import printable
from stages.vision.binomial import Interval
from tests.evaluate.drawn_predictions import draw_predictions, predict

HOSTILE = (
    "plain",
    "with, comma",
    'with "quotes"',
    "'single'",
    " spaces around ",
    "=1+1",
    "label",
    "probability",
    "ünï çödé 猫 \N{PILE OF POO}",
    "semi;colon\\backslash",
    "</script><script>alert(1)</script>",
    "\u202eright to left",
    "\u200d",
)


def read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    return header, lines


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table by the names of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is path, true and predicted class, its probability, and a probability for every class."""
    monkeypatch.setattr(predictions_module, "_BLOCK_VALUES", 6)  # two images at a time
    found = draw_predictions(5, num_classes=3)
    probabilities = found.probabilities(slice(None))
    path = tmp_path / "predictions.csv"
    tables.write_predictions(
        path, found, paths=[f"{number}.png" for number in range(5)], classes=("ant", "bee", "cat")
    )
    header, rows = read_lines(path)
    columns = ["path", "label", "predicted", "probability"]
    assert header == [*columns, "probability:ant", "probability:bee", "probability:cat"]
    assert len(rows) == 5
    for number, row in enumerate(rows):
        predicted = int(probabilities[number].argmax())
        assert row[0] == f"{number}.png"
        assert row[1:3] == [
            ["ant", "bee", "cat"][int(found.labels[number])],
            ["ant", "bee", "cat"][predicted],
        ]
        written = [float(value) for value in row[3:]]
        assert written == pytest.approx(
            [probabilities[number, predicted].item(), *probabilities[number].tolist()], rel=1e-8
        )
        assert sum(written[1:]) == pytest.approx(1, abs=1e-8)


def test_tiny_probabilities_are_not_lost(tmp_path: Path) -> None:
    """Probabilities far below one millionth keep their digits."""
    path = tmp_path / "predictions.csv"
    found = predict(torch.tensor([[69.0, 0.0]]), torch.tensor([1]))
    tables.write_predictions(path, found, paths=["a"], classes=("a", "b"))
    assert read_lines(path)[1] == [["a", "b", "a", "1", "1", f"{math.exp(-69):.9g}"]]


def write_and_compare(folder: Path, names: list[str]) -> None:
    """Write tables with these as paths and class names, and read the same names back."""
    path = folder / "table.csv"
    found = predict(torch.eye(len(names)).roll(1, dims=1), torch.arange(len(names)))
    tables.write_predictions(path, found, paths=names, classes=names)
    header, rows = read_lines(path)
    predicted = [*names[1:], names[0]]
    assert header[4:] == [f"probability:{name}" for name in names]
    assert [row[:3] for row in rows] == [list(row) for row in zip(names, names, predicted, strict=True)]
    tables.write_confusion(path, found, classes=names)
    header, rows = read_lines(path)
    assert header == ["label", "predicted"]
    drawn = [[tables.name_for_dvc(name) for name in row] for row in zip(names, predicted, strict=True)]
    assert rows == drawn
    assert "<" not in path.read_text(encoding="utf-8")
    assert b"\r" not in path.read_bytes()


def test_hostile_names_come_back(tmp_path: Path) -> None:
    """Commas, quotes, formulas and names of columns survive, as paths and as class names."""
    write_and_compare(tmp_path, list(HOSTILE))


@settings(deadline=None)
@given(names=st.lists(st.text().map(printable), min_size=2, max_size=4))
def test_any_printable_name_comes_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Whatever prepare-dataset may write into a manifest survives."""
    write_and_compare(tmp_path_factory.mktemp("names"), names)


def test_metrics_have_their_intervals(tmp_path: Path) -> None:
    """A line holds name, value and both bounds, which are empty where there is no interval."""
    tables.write_metrics(
        tmp_path / "metrics.csv",
        [Estimate("accuracy", 2 / 3, Interval(0.5, 1.0)), Estimate("macro_f1", 0.5, None)],
    )
    assert read_rows(tmp_path / "metrics.csv") == [
        {"metric": "accuracy", "value": "0.666666667", "ci_low": "0.5", "ci_high": "1"},
        {"metric": "macro_f1", "value": "0.5", "ci_low": "", "ci_high": ""},
    ]


def test_class_without_images_has_no_average_precision(tmp_path: Path) -> None:
    """Its field is empty, as no number would be true."""
    scores = ClassScores(
        label="ant, red",
        support=0,
        precision=0.5,
        recall=0,
        recall_low=None,
        recall_high=None,
        f1=0,
        average_precision=None,
    )
    tables.write_classes(tmp_path / "classes.csv", [scores])
    (row,) = read_rows(tmp_path / "classes.csv")
    assert (row["class"], row["support"], row["precision"], row["average_precision"]) == (
        "ant, red",
        "0",
        "0.5",
        "",
    )


def test_reliability_has_a_line_for_each_bin(tmp_path: Path) -> None:
    """Beside each stands what perfect calibration would give."""
    reliability = Reliability(bin_predictions(np.linspace(0.3, 1, 200), np.arange(200) > 60))
    tables.write_reliability(tmp_path / "reliability.csv", reliability)
    rows = read_rows(tmp_path / "reliability.csv")
    assert len(rows) == len(reliability.bins)
    assert sum(int(row["num_images"]) for row in rows) == 200
    assert all(row["perfectly_calibrated"] == row["confidence"] for row in rows)


def test_curves_have_a_line_for_each_point(tmp_path: Path) -> None:
    """Points are counted class by class; names are those that DVC can draw."""
    curves = [ClassCurves(1, precision_recall=[(0, 1), (1, 0.25)], roc=[(0, 0), (0.5, 1), (1, 1)])]
    tables.write_curves(tmp_path, curves, classes=("ant", "</script>"))
    rows = read_rows(tmp_path / "precision_recall.csv")
    assert [(row["class"], row["point"], float(row["recall"]), float(row["precision"])) for row in rows] == [
        ("\N{FULLWIDTH LESS-THAN SIGN}/script>", "0", 0, 1),
        ("\N{FULLWIDTH LESS-THAN SIGN}/script>", "1", 1, 0.25),
    ]
    assert [float(row["false_positive_rate"]) for row in read_rows(tmp_path / "roc.csv")] == [0, 0.5, 1]


def test_subgroups_are_described(tmp_path: Path) -> None:
    """Numbers have bounds; an empty text and what is left over are told apart."""
    tables.write_subgroups(
        tmp_path / "subgroups.csv",
        [
            Subgroup("brightness", None, (1.0, 2.5), 4, 0.5, Interval(0.25, 0.75), False),
            Subgroup("group", "", None, 3, 0.5, Interval(0.25, 0.75), False),
            Subgroup("group", "x", None, 2, 0.5, Interval(0.25, 0.75), False),
            Subgroup("group", None, None, 1, 0.5, Interval(0.25, 0.75), False),
        ],
    )
    rows = read_rows(tmp_path / "subgroups.csv")
    assert [(row["value"], row["from"], row["to"], row["num_images"]) for row in rows] == [
        ("", "1", "2.5", "4"),
        ("(empty)", "", "", "3"),
        ("x", "", "", "2"),
        ("(others)", "", "", "1"),
    ]


@pytest.mark.parametrize("num_scores", [0, 1])
def test_corruptions_may_be_none(tmp_path: Path, num_scores: int) -> None:
    """The table has its header even if corruptions were not tested."""
    score = CorruptedAccuracy(Corruption("noise", 2, 0.18), 0.5, Interval(0.25, 0.75))
    tables.write_corruptions(tmp_path / "corruptions.csv", [score] * num_scores)
    header = (tmp_path / "corruptions.csv").read_text().splitlines()[0]
    assert header == "corruption,severity,amount,accuracy,ci_low,ci_high"
    assert len(read_rows(tmp_path / "corruptions.csv")) == num_scores


def test_suspected_labels_are_listed(tmp_path: Path) -> None:
    """A line for each, in their order: path, label, what is suggested, and three probabilities."""
    found = predict(torch.tensor([[8.0, 0.0], [0.0, 1.0], [0.0, 9.0]]), torch.tensor([1, 1, 0]))
    suspected = LabelErrors(np.array([2, 0]), np.array([1, 0]), np.array([0.9, 0.75]), is_withheld=False)
    path = tmp_path / "suspected_labels.csv"
    tables.write_suspected_labels(path, suspected, found, paths=["a", "b", "c"], classes=("cat", "dog"))
    rows = read_rows(path)
    assert [list(row.values())[:4] for row in rows] == [
        ["c", "cat", "dog", "0.9"],
        ["a", "dog", "cat", "0.75"],
    ]
    for row, image in zip(rows, (2, 0), strict=True):
        assert float(row["label_probability"]) == pytest.approx(found.label_probability[image])
        assert float(row["suggested_probability"]) == pytest.approx(found.confidence[image])
