"""The tables of answers come back from any CSV reader."""

import csv
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluate import answers as answers_module
from stages.evaluate.predictions import write_predictions
from stages.evaluate.tables import name_for_dvc, write_answers
from stages.shared.text import printable
from tests.evaluate.drawn_answers import decide, draw_answers

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


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def test_predictions_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is path, true class, answer, its probability, and a probability for every class."""
    monkeypatch.setattr(answers_module, "_NUMBERS_AT_ONCE", 6)  # two images at a time
    answers = draw_answers(5, num_classes=3)
    probabilities = answers.probabilities_of(slice(None))
    path = tmp_path / "predictions.csv"
    write_predictions(
        path, answers, paths=[f"{number}.png" for number in range(5)], classes=("ant", "bee", "cat")
    )
    header, rows = read_rows(path)
    columns = ["path", "label", "predicted", "probability"]
    assert header == [*columns, "probability:ant", "probability:bee", "probability:cat"]
    assert len(rows) == 5
    for number, row in enumerate(rows):
        answer = int(probabilities[number].argmax())
        assert row[0] == f"{number}.png"
        assert row[1:3] == [
            ["ant", "bee", "cat"][int(answers.labels[number])],
            ["ant", "bee", "cat"][answer],
        ]
        written = [float(value) for value in row[3:]]
        assert written == pytest.approx(
            [probabilities[number, answer].item(), *probabilities[number].tolist()], rel=1e-8
        )
        assert sum(written[1:]) == pytest.approx(1, abs=1e-8)


def test_tiny_probabilities_are_not_lost(tmp_path: Path) -> None:
    """Probabilities far below one millionth keep their digits."""
    path = tmp_path / "predictions.csv"
    answers = decide(torch.tensor([[69.0, 0.0]]), torch.tensor([1]))
    write_predictions(path, answers, paths=["a"], classes=("a", "b"))
    assert read_rows(path)[1] == [["a", "b", "a", "1", "1", f"{math.exp(-69):.9g}"]]


def write_and_compare(folder: Path, names: list[str]) -> None:
    """Write tables with these as paths and class names, and read the same names back."""
    path = folder / "table.csv"
    answers = decide(torch.eye(len(names)).roll(1, dims=1), torch.arange(len(names)))
    write_predictions(path, answers, paths=names, classes=names)
    header, rows = read_rows(path)
    predicted = [*names[1:], names[0]]
    assert header[4:] == [f"probability:{name}" for name in names]
    assert [row[:3] for row in rows] == [list(row) for row in zip(names, names, predicted, strict=True)]
    write_answers(path, answers, classes=names)
    header, rows = read_rows(path)
    assert header == ["actual", "predicted"]
    drawn = [[name_for_dvc(name) for name in row] for row in zip(names, predicted, strict=True)]
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
