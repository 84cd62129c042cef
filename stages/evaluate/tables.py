"""The tables evaluate leaves beside its report, for spreadsheets, scripts and `dvc plots`."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.evaluate.test_metrics import ClassScores
from stages.evaluate.answers import Answers
from stages.evaluate.calibration import Reliability
from stages.evaluate.curves import ClassCurves
from stages.evaluate.intervals import Figure
from stages.evaluate.robustness import CorruptedScore
from stages.evaluate.slices import Slice


def write_figures(path: Path, figures: Sequence[Figure]) -> None:
    """Write a line for each figure with its interval."""
    rows = ((each.name, *map(_nine_digits, (each.value, each.low, each.high))) for each in figures)
    _write(path, ["metric", "value", "low", "high"], rows)


def write_classes(path: Path, per_class: Sequence[ClassScores]) -> None:
    """Write a line for each class; one without test images has no average precision."""
    numbers = ("precision", "recall", "f1", "average_precision")
    rows = (
        (each.label, each.support, *(_nine_digits(getattr(each, name)) for name in numbers))
        for each in per_class
    )
    _write(path, ["class", "support", *numbers], rows)


def write_answers(path: Path, answers: Answers, *, classes: Sequence[str]) -> None:
    """Write the two columns that DVC draws its confusion matrix from."""
    names = [name_for_dvc(name) for name in classes]
    pairs = zip(answers.labels.tolist(), answers.predicted.tolist(), strict=True)
    _write(path, ["actual", "predicted"], ((names[label], names[answer]) for label, answer in pairs))


def write_reliability(path: Path, reliability: Reliability) -> None:
    """Write what DVC draws its reliability plot from: a line for each bin."""
    rows = (
        (f"{each.probability:.6f}", f"{each.accuracy:.6f}", f"{each.probability:.6f}", each.num_images)
        for each in reliability.bins
    )
    _write(path, ["probability", "accuracy", "ideal", "num_images"], rows)


def write_curves(folder: Path, curves: Sequence[ClassCurves], *, classes: Sequence[str]) -> None:
    """Write precision_recall.csv and roc.csv, what DVC draws its curves from: a line for each place."""
    for name, header in (
        ("precision_recall", ("recall", "precision")),
        ("roc", ("false_positive_rate", "true_positive_rate")),
    ):
        rows = (
            (name_for_dvc(classes[curve.label]), place, f"{across:.6f}", f"{up:.6f}")
            for curve in curves
            for place, (across, up) in enumerate(getattr(curve, name))
        )
        _write(folder / f"{name}.csv", ["class", "place", *header], rows)


def write_slices(path: Path, slices: Sequence[Slice]) -> None:
    """Write a line for each slice: its text, or its smallest and largest number, and its accuracy.

    An empty text is `(empty)`; what is left beside the most frequent texts is `(others)`.
    """
    rows = (
        (
            each.by,
            "" if each.bounds else "(others)" if each.value is None else each.value or "(empty)",
            *map(_nine_digits, each.bounds or (None, None)),
            each.num_images,
            *map(_nine_digits, (each.accuracy, each.low, each.high)),
        )
        for each in slices
    )
    _write(path, ["slice", "value", "from", "to", "num_images", "accuracy", "low", "high"], rows)


def write_corruptions(path: Path, scores: Sequence[CorruptedScore]) -> None:
    """Write a line for each corruption at each strength."""
    rows = (
        (
            each.corruption.name,
            each.corruption.strength,
            *map(_nine_digits, (each.corruption.amount, each.accuracy, each.low, each.high)),
        )
        for each in scores
    )
    _write(path, ["corruption", "strength", "amount", "accuracy", "low", "high"], rows)


def name_for_dvc(name: str) -> str:
    """Return a class name that DVC can draw: it puts names into a script of its page as they are.

    A name with `</script>` in it would end the script there, and what follows would be run.
    """
    return name.replace("<", "\N{FULLWIDTH LESS-THAN SIGN}")


def _nine_digits(number: float | None) -> str:
    return "" if number is None else f"{number:.9g}"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
