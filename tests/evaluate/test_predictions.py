"""The tables of answers come back from any CSV reader."""

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluate.predictions import write_answers, write_predictions
from stages.shared.text import printable

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
    "\u200d",
)


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def test_predictions_come_back(tmp_path: Path) -> None:
    """Each row is path, true class, answer, its probability, and a probability for every class."""
    probabilities = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probabilities /= probabilities.sum(dim=1, keepdim=True)
    labels = torch.tensor([0, 1, 2, 1, 0])
    path = tmp_path / "predictions.csv"
    write_predictions(
        path,
        paths=[f"{number}.png" for number in range(5)],
        labels=labels,
        probabilities=probabilities,
        classes=("ant", "bee", "cat"),
    )
    header, rows = read_rows(path)
    columns = ["path", "label", "predicted", "probability"]
    assert header == [*columns, "probability:ant", "probability:bee", "probability:cat"]
    for number, row in enumerate(rows):
        answer = int(probabilities[number].argmax())
        assert row[0] == f"{number}.png"
        assert row[1:3] == [["ant", "bee", "cat"][int(labels[number])], ["ant", "bee", "cat"][answer]]
        written = [float(value) for value in row[3:]]
        assert written == pytest.approx(
            [probabilities[number, answer].item(), *probabilities[number].tolist()], rel=1e-8
        )
        assert sum(written[1:]) == pytest.approx(1, abs=1e-8)


def test_tiny_probabilities_are_not_lost(tmp_path: Path) -> None:
    """Probabilities far below one millionth keep their digits."""
    path = tmp_path / "predictions.csv"
    probabilities = torch.tensor([[1.0, 1.23456789e-30]], dtype=torch.float64)
    write_predictions(
        path, paths=["a"], labels=torch.tensor([1]), probabilities=probabilities, classes=("a", "b")
    )
    assert read_rows(path)[1] == [["a", "b", "a", "1", "1", "1.23456789e-30"]]


def write_and_compare(folder: Path, names: list[str]) -> None:
    """Write tables with these as paths and class names, and read the same names back."""
    labels = torch.arange(len(names))
    path = folder / "table.csv"
    probabilities = torch.eye(len(names), dtype=torch.float64).roll(1, dims=1)
    write_predictions(path, paths=names, labels=labels, probabilities=probabilities, classes=names)
    header, rows = read_rows(path)
    predicted = [*names[1:], names[0]]
    assert header[4:] == [f"probability:{name}" for name in names]
    assert [row[:3] for row in rows] == [list(row) for row in zip(names, names, predicted, strict=True)]
    write_answers(path, labels=labels, predicted=probabilities.argmax(dim=1), classes=names)
    header, rows = read_rows(path)
    assert header == ["actual", "predicted"]
    assert rows == [list(row) for row in zip(names, predicted, strict=True)]
    assert b"\r" not in path.read_bytes()


def test_hostile_names_come_back(tmp_path: Path) -> None:
    """Commas, quotes, formulas and names of columns survive, as paths and as class names."""
    write_and_compare(tmp_path, list(HOSTILE))


@settings(deadline=None)
@given(names=st.lists(st.text().map(printable), min_size=2, max_size=4))
def test_any_printable_name_comes_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Whatever prepare-dataset may write into a manifest survives."""
    write_and_compare(tmp_path_factory.mktemp("names"), names)
