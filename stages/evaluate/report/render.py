"""The report as one HTML page."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.evaluate.metrics import (
    choose_matrix_classes,
    count_confused_pairs,
    divide_rows,
    rank_confused_pairs,
)
from stages.evaluate.predictions import Ints
from stages.evaluate.report import charts
from stages.evaluate.report import content as texts
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.next_steps import list_next_steps
from stages.evaluate.report.pictures import OUTLINE_SIDE, draw_confusion, draw_examples, lay_out_cells
from stages.evaluate.report.run_details import list_parameters, list_run_details
from stages.pages import wording
from stages.pages.page import render_page
from stages.pages.wording import FINDING_MEANINGS

_MAX_CLASS_ROWS = 250
_RAMP = (0.01, 0.1, 0.25, 0.5, 1.0)
_NUM_OVERVIEW_TICKS = 20
_MAX_OVERVIEW_CELLS = 40_000


@dataclass(frozen=True)
class MatrixCell:
    """One cell of the confusion matrix as it is drawn."""

    label: int
    """Position of the true class."""

    predicted: int
    css_class: str
    strength: str
    """Opacity of the color, from 0 to 1."""

    count: int
    fraction: float
    """Of the images of the true class."""


@dataclass(frozen=True)
class Overview:
    """The whole confusion matrix of many classes, in one picture."""

    picture: str
    names: str
    """Of all classes, as JSON."""

    counts: str
    """Of each row the `column:count` of its cells that are not empty; empty if there are too many."""

    ticks: Sequence[tuple[int, str]]
    """Classes with their names at the edges, and where."""


def render_report(content: ReportContent) -> str:
    """Return the report as one HTML document, to be stored as UTF-8."""
    class_rows = texts.build_class_rows(content)
    return render_page(
        Path(__file__).parent,
        charts=charts,
        content=content,
        classes=content.checkpoint.classes,
        metrics=content.metrics,
        history=content.history,
        about_run=texts.describe_run(content),
        next_steps=list_next_steps(content),
        verdict=texts.build_verdict(content),
        hardest=None if content.hardest is None else content.per_class[content.hardest],
        cards=texts.build_cards(content),
        metric_rows=texts.build_metric_rows(content),
        about_intervals=texts.describe_intervals(content),
        baseline_rows=texts.build_baseline_rows(content),
        about_baseline=" ".join(texts.describe_baseline(content)),
        class_rows=class_rows[:_MAX_CLASS_ROWS],
        **_lay_out_confusion(content),
        pictures=draw_examples(content.examples),
        outline_side=OUTLINE_SIDE,
        calibration=content.calibration,
        about_calibration=texts.describe_calibration(content.calibration),
        about_label_errors=texts.describe_label_errors(content.examples.label_errors),
        about_selective=texts.describe_selective(content.calibration.selective),
        about_sets=texts.describe_sets(content.calibration.sets),
        set_rows=[each for each in content.calibration.sets if each.coverage],
        calibration_charts=[
            charts.build_reliability_diagram(content.calibration),
            charts.build_risk_coverage_chart(content.calibration.selective),
        ],
        subgroup_tables=texts.build_subgroup_tables(content),
        constant_attributes=texts.list_constant_attributes(content),
        corruption_rows=texts.build_corruption_rows(content),
        learning_curves=charts.build_learning_curves(content.history),
        class_curves=charts.build_class_curves(content.curves, per_class=content.per_class),
        epochs=charts.choose_epochs(content.history),
        run_details=list_run_details(content.checkpoint, counts=content.counts, history=content.history),
        parameters=list_parameters(content.checkpoint),
        finding_meanings=FINDING_MEANINGS,
    )


def _lay_out_confusion(content: ReportContent) -> dict[str, Any]:
    """Return what the confusion section shows: the matrix, or of many classes a part of it and a picture."""
    shown = choose_matrix_classes(content.confusion)
    is_whole = len(shown) == len(content.confusion)
    sheet, cells = lay_out_cells(content.examples.cells)
    return {
        "matrix_classes": shown,
        "matrix": _lay_out_matrix(content.confusion, shown=shown),
        "ramps": {
            "correct": [(part, f"{_color(part, is_correct=True):.2f}") for part in _RAMP],
            "mistake": [(part, f"{_color(part, is_correct=False):.2f}") for part in _RAMP],
        },
        "upright": {
            place for place, name in enumerate(content.checkpoint.classes) if wording.is_upright(name)
        },
        "overview": None if is_whole else _lay_out_overview(content),
        "pairs": rank_confused_pairs(content.confusion),
        "num_pairs": count_confused_pairs(content.confusion),
        "sheet": sheet,
        "cells": cells,
    }


def _lay_out_matrix(confusion: Ints, *, shown: Sequence[int]) -> list[list[MatrixCell]]:
    """Return the cells of the matrix of the shown classes, row by row."""
    fractions = divide_rows(confusion)

    def lay_out(label: int, predicted: int) -> MatrixCell:
        count, fraction = int(confusion[label, predicted]), float(fractions[label, predicted])
        if count == 0:
            return MatrixCell(label, predicted, "none", "0.00", 0, 0.0)
        is_correct = label == predicted
        strength = f"{_color(fraction, is_correct=is_correct):.2f}"
        return MatrixCell(label, predicted, "correct" if is_correct else "mistake", strength, count, fraction)

    return [[lay_out(row, column) for column in shown] for row in shown]


def _color(fraction: float, *, is_correct: bool) -> float:
    """Return the opacity of a cell's color. Mistakes are a few percent of a row: their scale is steeper."""
    return fraction if is_correct else 0.15 + 0.85 * math.sqrt(fraction)


def _lay_out_overview(content: ReportContent) -> Overview:
    """Return the picture of the whole matrix, with names at its edges and what a pointer is told."""
    confusion, names = content.confusion, content.checkpoint.classes
    rows = [
        ",".join(f"{column}:{row[column]}" for column in np.flatnonzero(row).tolist()) for row in confusion
    ]
    num_cells = int(np.count_nonzero(confusion))
    step = -(-len(names) // _NUM_OVERVIEW_TICKS)
    return Overview(
        picture=draw_confusion(divide_rows(confusion)),
        names=json.dumps([wording.brief(name) for name in names]),
        counts=";".join(rows) if num_cells <= _MAX_OVERVIEW_CELLS else "",
        ticks=[(at, f"{100 * (at + 0.5) / len(names):.2f}%") for at in range(0, len(names), step)],
    )
