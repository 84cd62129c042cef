"""The report as one HTML file that needs nothing but a browser.

The same content gives the same bytes. Names of classes and files may hold anything; Jinja2 escapes whatever
it prints, and `wording` makes the invisible visible.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.evaluate.confusion import (
    choose_matrix_classes,
    count_confused_pairs,
    divide_rows,
    lay_out_cells,
    rank_confused_pairs,
)
from stages.evaluate.report import audit, believing, charts, wording
from stages.evaluate.report.classes import build_class_rows
from stages.evaluate.report.content import ReportContent
from stages.evaluate.report.curves import build_learning_curves, choose_epochs
from stages.evaluate.report.facts import list_facts, list_parameters
from stages.evaluate.report.frames import frame_exhibits
from stages.evaluate.report.headline import (
    build_cards,
    build_figure_rows,
    build_verdict,
    describe_resampling,
)
from stages.evaluate.report.pictures import draw_confusion
from stages.evaluate.report.slices import build_corruption_rows, build_slice_tables, list_alike
from stages.evaluate.report.tiles import lay_out_tiles

_HERE = Path(__file__).parent
_MAX_CLASS_ROWS = 300
_STYLES = ("page", "figures", "charts", "tables", "matrix", "exhibits", "narrow", "print")  # later ones win
_SCRIPTS = ("table", "fields")


def render_report(content: ReportContent) -> str:
    """Return the report as one HTML document, to be stored as UTF-8."""
    style = "\n".join(_read(f"style/{name}.css") for name in _STYLES)
    script = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    rows = build_class_rows(content)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            style=Markup(style),
            script=Markup(script),
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            charts=charts,
            content=content,
            classes=content.checkpoint.classes,
            metrics=content.metrics,
            history=content.history,
            verdict=build_verdict(content),
            hardest=next((row for row in rows if row.recall is not None and row.recall < 1), None),
            cards=build_cards(content),
            figure_rows=build_figure_rows(content),
            class_rows=rows[:_MAX_CLASS_ROWS],
            curves=build_learning_curves(content.history),
            epochs=choose_epochs(content.history),
            facts=list_facts(content.manifest, checkpoint=content.checkpoint, history=content.history),
            parameters=list_parameters(content.checkpoint),
            frames=frame_exhibits(content.exhibits),
            kind_meanings=audit.MEANINGS,
            slice_tables=build_slice_tables(content.slices, accuracy=content.metrics.accuracy),
            alike=list_alike(content.slices),
            corruption_rows=build_corruption_rows(content.corrupted),
            resampled=describe_resampling(content),
            **_confusion(content),
            **_believing(content),
        )
    )


def _confusion(content: ReportContent) -> dict[str, Any]:
    """Return what the section about confusion shows: the matrix, or of many classes a part and a picture."""
    shown = choose_matrix_classes(content.confusion)
    is_whole = len(shown) == len(content.confusion)
    sheet, fields = lay_out_tiles(content.exhibits.gallery)
    return {
        "matrix_classes": shown,
        "matrix": lay_out_cells(content.confusion, shown=shown),
        "matrix_picture": None if is_whole else draw_confusion(divide_rows(content.confusion)),
        "pairs": rank_confused_pairs(content.confusion),
        "num_pairs": count_confused_pairs(content.confusion),
        "sheet": sheet,
        "fields": fields,
    }


def _believing(content: ReportContent) -> dict[str, Any]:
    figures = content.calibration
    return {
        "calibration": figures,
        "believing": believing.describe_calibration(figures),
        "withholding": believing.describe_withholding(figures.withholding),
        "calibration_charts": [
            believing.draw_reliability(figures),
            believing.draw_risk(figures.withholding),
        ],
    }


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (
        wording.brief,
        wording.brief_name,
        wording.brief_path,
        wording.certainty,
        wording.count,
        wording.name,
        wording.path,
        wording.percent,
        wording.plain,
        wording.plural,
    )
    environment.filters.update({write.__name__: write for write in words})
    return environment
