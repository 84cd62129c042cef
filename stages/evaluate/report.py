"""The test report: one HTML file that needs nothing but a browser.

The same content gives the same bytes. Names of classes and files may hold anything; Jinja2 escapes whatever
it prints, and `wording` makes the invisible visible.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from schemas.shared.manifest import Manifest
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from stages.evaluate import charts, wording
from stages.evaluate.calibration import CalibrationFigures, Reliability, Withholding
from stages.evaluate.confusion import divide_rows, lay_out_cells, rank_confused_pairs
from stages.evaluate.curves import ClassCurves
from stages.evaluate.facts import list_facts
from stages.evaluate.intervals import Figure
from stages.evaluate.pictures import draw_confusion, embed_pictures
from stages.evaluate.robustness import CorruptedScore
from stages.evaluate.slices import Slice

_HERE = Path(__file__).parent
_MAX_MATRIX_CLASSES = 30
_MAX_CLASS_ROWS = 500
_MAX_PAIRS = 10


@dataclass(frozen=True)
class Mistake:
    """A test image that was answered wrongly."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB or (height, width, 1)."""

    path: str
    label: str
    predicted: str
    probability: float
    """Of the predicted class."""

    label_probability: float
    """Of the true class."""


@dataclass(frozen=True)
class ReportContent:
    """All the report tells."""

    checkpoint: Checkpoint
    history: History
    manifest: Manifest
    metrics: TestMetrics
    figures: Sequence[Figure]
    """Headline figures with their intervals."""

    per_class: Sequence[ClassScores]
    """In the order of the classes."""

    confusion: NDArray[np.int64]
    """(num_classes, num_classes), rows true, columns predicted."""

    calibration: CalibrationFigures
    top_k: int
    worst: Sequence[Mistake]
    """Worst first."""

    num_units: int
    """How many units the test images form: those of one group, or copies of each other, are drawn together in
    the bootstrap. As many as images where each stands alone."""

    curves: Sequence[ClassCurves]
    """Precision-recall and ROC curves of the largest classes."""

    slices: Sequence[Slice]
    """Accuracy by what evaluation.slices names."""

    corrupted: Sequence[CorruptedScore]
    """Accuracy on corrupted images; none unless evaluation.corruptions asks for it."""


@dataclass(frozen=True)
class Card:
    """A headline figure."""

    title: str
    value: str
    interval: str
    """Its 95 % interval."""

    note: str


@dataclass(frozen=True)
class ClassRow:
    """One line of the per-class table; a score that has no meaning is None."""

    position: int
    label: str
    num_train: int
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


def render_report(content: ReportContent) -> str:
    """Return the report as one HTML document, to be stored as UTF-8."""
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    pairs = rank_confused_pairs(content.confusion, classes=content.checkpoint.classes)
    is_small = len(content.per_class) <= _MAX_MATRIX_CLASSES
    rows = _class_rows(content)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            classes=content.checkpoint.classes,
            metrics=content.metrics,
            history=content.history,
            verdict=_verdict(content),
            hardest=next((row for row in rows if row.recall is not None and row.recall < 1), None),
            cards=_cards(content),
            figure_rows=_figure_rows(content),
            facts=list_facts(content.manifest, checkpoint=content.checkpoint, history=content.history),
            curves=_curves(content.history),
            calibration=content.calibration,
            believing=_believing(content.calibration),
            withholding=_withholding(content.calibration.withholding),
            calibration_charts=_calibration_charts(content.calibration),
            matrix=lay_out_cells(content.confusion) if is_small else None,
            matrix_picture=None if is_small else draw_confusion(divide_rows(content.confusion)),
            num_mistakes=_num_mistakes(content),
            pairs=pairs[: _MAX_PAIRS if is_small else 3 * _MAX_PAIRS],
            num_pairs=len(pairs),
            class_rows=rows[:_MAX_CLASS_ROWS],
            mistakes=list(
                zip(content.worst, embed_pictures([mistake.image for mistake in content.worst]), strict=True)
            ),
            charts=charts,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (
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


def _num_mistakes(content: ReportContent) -> int:
    return int(content.confusion.sum() - np.trace(content.confusion))


def _verdict(content: ReportContent) -> str:
    """Say in plain words how good the answers are, and what they must be compared with."""
    metrics = content.metrics
    num_right = metrics.num_images - _num_mistakes(content)
    if num_right == metrics.num_images:
        answered = f"All {wording.plural(num_right, 'test image')} were answered correctly."
    else:
        were = "was" if num_right == 1 else "were"
        answered = (
            f"{wording.count(num_right)} of {wording.plural(metrics.num_images, 'test image')} "
            f"{were} answered correctly."
        )
    baseline = wording.percent(metrics.majority_accuracy)
    if metrics.accuracy > metrics.majority_accuracy:
        return f"{answered} Always answering the largest class would get {baseline}."
    return (
        f"{answered} That is no better than always answering the largest class, which would get {baseline}."
    )


def _cards(content: ReportContent) -> list[Card]:
    metrics, num_classes = content.metrics, len(content.per_class)
    in_top_k = f"The true class is among the {content.top_k} most probable"
    if content.top_k >= num_classes:
        in_top_k = f"Says nothing here: there are only {num_classes} classes"
    between = {figure.name: _between(figure) for figure in content.figures}
    return [
        Card(
            "Accuracy",
            wording.percent(metrics.accuracy),
            between["accuracy"],
            "Test images answered correctly",
        ),
        Card(
            "Balanced accuracy",
            wording.percent(metrics.balanced_accuracy),
            between["balanced_accuracy"],
            "Mean over the classes: small ones count as much as large ones",
        ),
        Card(
            "Macro F1",
            f"{metrics.macro_f1:.3f}",
            between["macro_f1"],
            "Precision and recall in one, mean over the classes; 1 is best",
        ),
        Card(
            f"Top-{content.top_k} accuracy",
            wording.percent(metrics.top_k_accuracy),
            between["top_k_accuracy"],
            in_top_k,
        ),
        Card(
            "Loss",
            f"{metrics.loss:.3f}",
            between["loss"],
            f"0 is best; guessing evenly gets {math.log(num_classes):.3f}",
        ),
    ]


def _between(figure: Figure) -> str:
    if figure.name.endswith("accuracy"):
        return f"{wording.percent(figure.low)} to {wording.percent(figure.high)}"
    return f"{figure.low:.3f} to {figure.high:.3f}"


def _figure_rows(content: ReportContent) -> list[tuple[str, str, str]]:
    """Return name, value and interval of every figure."""
    return [
        (
            figure.name.replace("top_k", f"top-{content.top_k}").replace("_", " ").replace("f1", "F1"),
            wording.percent(figure.value) if figure.name.endswith("accuracy") else f"{figure.value:.3f}",
            _between(figure),
        )
        for figure in content.figures
    ]


def _curves(history: History) -> list[charts.LineChart]:
    epochs = history.epochs

    def chart(
        title: str, key: str, *, train: list[float], val: list[float], percent: bool
    ) -> charts.LineChart:
        def moved(values: list[float]) -> str:
            start, end = (wording.percent(v) if percent else f"{v:.3f}" for v in (values[0], values[-1]))
            return f"{start} in epoch {epochs[0].epoch}, {end} in epoch {epochs[-1].epoch}"

        return charts.build_line_chart(
            [charts.Series("training", "train", train), charts.Series("validation", "val", val)],
            key=key,
            title=title,
            description=f"Training: {moved(train)}. Validation: {moved(val)}.",
            epochs=[record.epoch for record in epochs],
            marked_epoch=history.best_epoch,
            percent=percent,
        )

    train_loss, val_loss = [e.train_loss for e in epochs], [e.val.loss for e in epochs]
    train_accuracy, val_accuracy = [e.train_accuracy for e in epochs], [e.val.accuracy for e in epochs]
    return [
        chart("Loss", "loss", train=train_loss, val=val_loss, percent=False),
        chart("Accuracy", "accuracy", train=train_accuracy, val=val_accuracy, percent=True),
    ]


def _believing(figures: CalibrationFigures) -> str:
    """Say by how much probabilities miss, before and after calibration."""
    error, before = wording.percent(figures.after.error), wording.percent(figures.before.error)
    miss = f"The probabilities miss the share of right answers by {error} on average"
    if figures.temperature == 1.0:
        return f"{miss}. The validation split has no mistakes to calibrate them by."
    return (
        f"{miss} (expected calibration error); before the logits were divided by the temperature "
        f"{figures.temperature:.3g}, which was fitted to the validation split, it was {before}."
    )


def _withholding(withheld: Withholding) -> str:
    """Say what the threshold for the wanted accuracy does."""
    target = wording.percent(withheld.target_accuracy)
    if withheld.threshold is None:
        return f"No threshold made {target} of the answers right on the validation split, so none is set."
    threshold = wording.percent(withheld.threshold.probability)
    if withheld.threshold.probability == 0:
        given = f"For {target} right answers none need be withheld, says the validation split"
    else:
        given = f"For {target} right answers, those below {threshold} are withheld, says the validation split"
    return (
        f"{given}. On the test split that answers {wording.percent(withheld.answered_fraction)} of the "
        f"images, and {wording.percent(withheld.accuracy)} of these answers are right."
    )


def _calibration_charts(figures: CalibrationFigures) -> list[charts.LineChart]:
    def places(reliability: Reliability) -> list[tuple[float, float]]:
        return [(each.probability, each.accuracy) for each in reliability.bins]

    def weights(reliability: Reliability) -> list[float]:
        total = sum(each.num_images for each in reliability.bins)
        return [each.num_images / total for each in reliability.bins]

    curve = figures.withholding.curve
    return [
        charts.build_fraction_chart(
            [
                charts.Curve("as it should be", "ideal", [(0.0, 0.0), (1.0, 1.0)]),
                charts.Curve("before calibration", "train", places(figures.before), weights(figures.before)),
                charts.Curve("after", "val", places(figures.after), weights(figures.after)),
            ],
            key="reliability",
            title="Answered correctly, by probability",
            description=(
                f"Expected calibration error {wording.percent(figures.before.error)} before calibration, "
                f"{wording.percent(figures.after.error)} after. The table below holds the numbers."
            ),
            x_label="probability of the answer; the larger a dot, the more images",
            top=1.0,
        ),
        charts.build_fraction_chart(
            [charts.Curve("wrong among the answered", "val", curve)],
            key="risk",
            title="Wrong answers, the improbable ones withheld",
            description=(
                f"{wording.percent(curve[-1][1])} are wrong when all images are answered, "
                f"{wording.percent(curve[len(curve) // 2][1])} when the more probable half is."
            ),
            x_label="share of the images that is answered",
            top=max(risk for _, risk in curve),
            marked_x=figures.withholding.answered_fraction if figures.withholding.threshold else None,
            marked_label=f"threshold for {wording.percent(figures.withholding.target_accuracy)}",
        ),
    ]


def _class_rows(content: ReportContent) -> list[ClassRow]:
    """Return the classes, lowest recall first, those without test images last."""
    num_predicted = content.confusion.sum(axis=0)
    rows = [
        ClassRow(
            position=position,
            label=scores.label,
            num_train=content.manifest.counts.train[position],
            support=scores.support,
            precision=scores.precision if num_predicted[position] else None,
            recall=scores.recall if scores.support else None,
            f1=scores.f1 if scores.support or num_predicted[position] else None,
        )
        for position, scores in enumerate(content.per_class)
    ]
    return sorted(rows, key=lambda row: (row.recall is None, row.recall or 0.0, row.position))
