"""The tables beside the report come back from any CSV reader."""

import csv
from pathlib import Path

import pytest

from schemas.evaluate.test_metrics import ClassScores
from stages.evaluate import tables
from stages.evaluate.calibration import measure_calibration
from stages.evaluate.corruptions import Corruption
from stages.evaluate.curves import ClassCurves
from stages.evaluate.intervals import Figure
from stages.evaluate.robustness import CorruptedScore
from stages.evaluate.slices import Slice
from tests.evaluate.drawn_answers import draw_answers


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table by the names of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_figures_have_their_intervals(tmp_path: Path) -> None:
    """A line holds name, value and both bounds."""
    tables.write_figures(tmp_path / "metrics.csv", [Figure("accuracy", 2 / 3, 0.5, 1.0)])
    assert read_rows(tmp_path / "metrics.csv") == [
        {"metric": "accuracy", "value": "0.666666667", "low": "0.5", "high": "1"}
    ]


def test_class_without_images_has_no_average_precision(tmp_path: Path) -> None:
    """Its field is empty, as no number would be true."""
    scores = ClassScores(label="ant, red", support=0, precision=0.5, recall=0, f1=0, average_precision=None)
    tables.write_classes(tmp_path / "classes.csv", [scores])
    (row,) = read_rows(tmp_path / "classes.csv")
    assert (row["class"], row["support"], row["precision"], row["average_precision"]) == (
        "ant, red",
        "0",
        "0.5",
        "",
    )


def test_reliability_stands_beside_what_would_be_ideal(tmp_path: Path) -> None:
    """One line a bin."""
    reliability = measure_calibration(draw_answers(200), target_accuracy=0.9).after
    tables.write_reliability(tmp_path / "reliability.csv", reliability)
    rows = read_rows(tmp_path / "reliability.csv")
    assert len(rows) == len(reliability.bins)
    assert sum(int(row["num_images"]) for row in rows) == 200
    assert all(row["ideal"] == row["probability"] for row in rows)


def test_curves_have_a_line_for_each_place(tmp_path: Path) -> None:
    """Places are counted class by class, names are those that DVC can draw."""
    curves = [ClassCurves(1, precision_recall=[(0, 1), (1, 0.25)], roc=[(0, 0), (0.5, 1), (1, 1)])]
    tables.write_curves(tmp_path, curves, classes=("ant", "</script>"))
    rows = read_rows(tmp_path / "precision_recall.csv")
    assert [(row["class"], row["place"], float(row["recall"]), float(row["precision"])) for row in rows] == [
        ("\N{FULLWIDTH LESS-THAN SIGN}/script>", "0", 0, 1),
        ("\N{FULLWIDTH LESS-THAN SIGN}/script>", "1", 1, 0.25),
    ]
    assert [float(row["false_positive_rate"]) for row in read_rows(tmp_path / "roc.csv")] == [0, 0.5, 1]


def test_slices_say_what_they_are_of(tmp_path: Path) -> None:
    """Numbers have bounds; an empty text and what is left over are told apart."""
    tables.write_slices(
        tmp_path / "slices.csv",
        [
            Slice("brightness", None, (1.0, 2.5), 4, 0.5, 0.25, 0.75),
            Slice("group", "", None, 3, 0.5, 0.25, 0.75),
            Slice("group", "x", None, 2, 0.5, 0.25, 0.75),
            Slice("group", None, None, 1, 0.5, 0.25, 0.75),
        ],
    )
    rows = read_rows(tmp_path / "slices.csv")
    assert [(row["value"], row["from"], row["to"], row["num_images"]) for row in rows] == [
        ("", "1", "2.5", "4"),
        ("(empty)", "", "", "3"),
        ("x", "", "", "2"),
        ("(others)", "", "", "1"),
    ]


@pytest.mark.parametrize("num_scores", [0, 1])
def test_corruptions_may_be_none(tmp_path: Path, num_scores: int) -> None:
    """The table has its header also where no corruption was asked for."""
    score = CorruptedScore(Corruption("noise", 2, 0.18), 0.5, 0.25, 0.75)
    tables.write_corruptions(tmp_path / "corruptions.csv", [score] * num_scores)
    assert (tmp_path / "corruptions.csv").read_text().startswith("corruption,strength,amount,accuracy,low")
    assert len(read_rows(tmp_path / "corruptions.csv")) == num_scores
