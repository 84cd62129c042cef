"""The CSV tables of data/report, for spreadsheets, scripts and `dvc plots`."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.evaluate.test_metrics import ClassScores
from schemas.shared.manifest import Manifest
from stages.evaluate.calibration import Reliability
from stages.evaluate.corruptions import CorruptedAccuracy
from stages.evaluate.curves import ClassCurves
from stages.evaluate.label_errors import LabelErrors
from stages.evaluate.metrics import Estimate
from stages.evaluate.predictions import Predictions, split_rows
from stages.evaluate.report.content import ReportContent
from stages.evaluate.subgroups import Subgroup

# Nine digits: with fewer a row does not sum to 1 as closely as scikit-learn asks.
_NUMBER = "%.9g"


def write_tables(
    folder: Path, content: ReportContent, predictions: Predictions, *, paths: Sequence[str]
) -> None:
    """Write all tables into a folder; `paths` (N,) are those of the test images in the source."""
    classes = content.checkpoint.classes
    write_predictions(folder / "predictions.csv", predictions, paths=paths, classes=classes)
    write_confusion(folder / "confusion.csv", predictions, classes=classes)
    write_metrics(folder / "metrics.csv", content.estimates)
    write_classes(folder / "classes.csv", content.per_class)
    write_reliability(folder / "reliability.csv", content.calibration.after)
    write_curves(folder, content.curves, classes=classes)
    write_subgroups(folder / "subgroups.csv", content.subgroups)
    write_corruptions(folder / "corruptions.csv", content.corrupted)
    suspected = content.examples.label_errors
    write_suspected_labels(
        folder / "suspected_labels.csv", suspected, predictions, paths=paths, classes=classes
    )


def estimate_report_bytes(manifest: Manifest) -> int:
    """Return about how much is written: predictions.csv at 24 bytes a field, 8 MiB for all else."""
    num_fields = sum(manifest.counts.test) * (len(manifest.classes) + 2)
    return 8 * 2**20 + 24 * num_fields


def write_predictions(
    path: Path, predictions: Predictions, *, paths: Sequence[str], classes: Sequence[str]
) -> None:
    """Write a line for each test image: path, true and predicted class, a probability for every class.

    Args:
        path: The file to write.
        predictions: For N images.
        paths: Path of each image in the source, (N,).
        classes: Class names, (C,).
    """
    header = ["path", "label", "predicted", "probability", *(f"probability:{name}" for name in classes)]
    names = [_to_csv([name]) for name in classes]
    # One format for a whole line: a CSV writer given each number takes twice as long.
    line = ",".join(["%s,%s,%s", *[_NUMBER] * (1 + len(classes))]) + "\n"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_to_csv(header) + "\n")
        for block in split_rows(predictions.num_images, num_columns=len(classes)):
            file.writelines(
                line % (_to_csv([image]), names[label], names[predicted], row[predicted], *row)
                for image, label, predicted, row in zip(
                    paths[block],
                    predictions.labels[block].tolist(),
                    predictions.predicted[block].tolist(),
                    predictions.probabilities(block).tolist(),
                    strict=True,
                )
            )


def write_confusion(path: Path, predictions: Predictions, *, classes: Sequence[str]) -> None:
    """Write the two columns that DVC draws its confusion matrix from, a line for each test image."""
    names = [name_for_dvc(name) for name in classes]
    pairs = zip(predictions.labels.tolist(), predictions.predicted.tolist(), strict=True)
    _write(path, ["label", "predicted"], ((names[label], names[predicted]) for label, predicted in pairs))


def write_metrics(path: Path, estimates: Sequence[Estimate]) -> None:
    """Write a line for each metric with its 95 % confidence interval, if it has one."""
    rows = (
        (each.name, _format(each.value), *map(_format, each.interval or (None, None))) for each in estimates
    )
    _write(path, ["metric", "value", "ci_low", "ci_high"], rows)


def write_classes(path: Path, per_class: Sequence[ClassScores]) -> None:
    """Write a line for each class; one without test images has no average precision."""
    scores = ("precision", "recall", "recall_low", "recall_high", "f1", "average_precision")
    rows = (
        (each.label, each.support, *(_format(getattr(each, name)) for name in scores)) for each in per_class
    )
    _write(path, ["class", "support", *scores], rows)


def write_reliability(path: Path, reliability: Reliability) -> None:
    """Write a line for each bin of the reliability diagram, which DVC draws."""
    rows = (
        (f"{each.confidence:.6f}", f"{each.accuracy:.6f}", f"{each.confidence:.6f}", each.num_images)
        for each in reliability.bins
    )
    _write(path, ["confidence", "accuracy", "perfectly_calibrated", "num_images"], rows)


def write_curves(folder: Path, curves: Sequence[ClassCurves], *, classes: Sequence[str]) -> None:
    """Write precision_recall.csv and roc.csv, a line for each point, which DVC draws."""
    for name, header in (
        ("precision_recall", ("recall", "precision")),
        ("roc", ("false_positive_rate", "true_positive_rate")),
    ):
        rows = (
            (name_for_dvc(classes[curve.label]), point, f"{x:.6f}", f"{y:.6f}")
            for curve in curves
            for point, (x, y) in enumerate(getattr(curve, name))
        )
        _write(folder / f"{name}.csv", ["class", "point", *header], rows)


def write_subgroups(path: Path, subgroups: Sequence[Subgroup]) -> None:
    """Write a line for each subgroup: its text, or its smallest and largest number, and its accuracy.

    An empty text is `(empty)`; the rest beside the most frequent texts is `(others)`.
    """
    rows = (
        (
            each.attribute,
            "" if each.bounds else "(others)" if each.value is None else each.value or "(empty)",
            *map(_format, each.bounds or (None, None)),
            each.num_images,
            *map(_format, (each.accuracy, *each.interval)),
        )
        for each in subgroups
    )
    _write(path, ["attribute", "value", "from", "to", "num_images", "accuracy", "ci_low", "ci_high"], rows)


def write_corruptions(path: Path, accuracies: Sequence[CorruptedAccuracy]) -> None:
    """Write a line for each corruption at each severity."""
    rows = (
        (
            each.corruption.name,
            each.corruption.severity,
            *map(_format, (each.corruption.amount, each.accuracy, *each.interval)),
        )
        for each in accuracies
    )
    _write(path, ["corruption", "severity", "amount", "accuracy", "ci_low", "ci_high"], rows)


def write_suspected_labels(
    path: Path,
    suspected: LabelErrors,
    predictions: Predictions,
    *,
    paths: Sequence[str],
    classes: Sequence[str],
) -> None:
    """Write a line for each test image whose label is probably wrong, the most probably wrong first.

    Args:
        path: The file to write.
        suspected: The images.
        predictions: For N images.
        paths: Path of each image in the source, (N,).
        classes: Class names, (C,).
    """
    rows = (
        (
            paths[image],
            classes[predictions.labels[image]],
            classes[suggestion],
            *map(_format, (wrong, predictions.label_probability[image], predictions.confidence[image])),
        )
        for image, suggestion, wrong in zip(
            suspected.images.tolist(),
            suspected.suggestions.tolist(),
            suspected.probabilities.tolist(),
            strict=True,
        )
    )
    header = ["path", "label", "suggested", "wrong_probability", "label_probability", "suggested_probability"]
    _write(path, header, rows)


def name_for_dvc(name: str) -> str:
    """Return a class name that DVC can draw: it pastes names into a script of its page as they are.

    A name with `</script>` in it would end the script there, and what follows would be run.
    """
    return name.replace("<", "\N{FULLWIDTH LESS-THAN SIGN}")


def _format(number: float | None) -> str:
    return "" if number is None else _NUMBER % number


def _to_csv(values: Iterable[str]) -> str:
    """Return values as a line of CSV without its end, quoted where necessary."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()[:-1]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
