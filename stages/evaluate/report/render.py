"""The report as one HTML page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from stages.evaluate.report.pictures import draw_confusion, draw_examples, lay_out_cells
from stages.evaluate.report.run_details import list_parameters, list_run_details
from stages.pages.page import render_page
from stages.pages.wording import FINDING_MEANINGS

_MAX_CLASS_ROWS = 300


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
        verdict=texts.build_verdict(content),
        hardest=next((row for row in class_rows if row.recall is not None and row.recall < 1), None),
        cards=texts.build_cards(content),
        metric_rows=texts.build_metric_rows(content),
        about_intervals=texts.describe_intervals(content),
        class_rows=class_rows[:_MAX_CLASS_ROWS],
        **_lay_out_confusion(content),
        pictures=draw_examples(content.examples),
        calibration=content.calibration,
        about_calibration=texts.describe_calibration(content.calibration),
        about_label_errors=texts.describe_label_errors(content.examples.label_errors),
        about_selective=texts.describe_selective(content.calibration.selective),
        calibration_charts=[
            charts.build_reliability_diagram(content.calibration),
            charts.build_risk_coverage_chart(content.calibration.selective),
        ],
        subgroup_tables=texts.build_subgroup_tables(content),
        constant_attributes=texts.list_constant_attributes(content),
        corruption_rows=texts.build_corruption_rows(content),
        learning_curves=charts.build_learning_curves(content.history),
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
        "matrix_picture": None if is_whole else draw_confusion(divide_rows(content.confusion)),
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
        # Mistakes are a few percent of a row: on the scale of the diagonal they would be invisible.
        is_correct = label == predicted
        strength = fraction if is_correct else 0.15 + 0.85 * math.sqrt(fraction)
        css_class = ("correct" if is_correct else "mistake") + (" strong" if strength > 0.7 else "")
        return MatrixCell(label, predicted, css_class, f"{strength:.2f}", count, fraction)

    return [[lay_out(row, column) for column in shown] for row in shown]
