"""The table of classes."""

from dataclasses import dataclass

from stages.evaluate.report.content import ReportContent


@dataclass(frozen=True)
class ClassRow:
    """One line of the table; a score that has no meaning is None."""

    position: int
    label: str
    num_train: int
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


def build_class_rows(content: ReportContent) -> list[ClassRow]:
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
            average_precision=scores.average_precision,
            f1=scores.f1 if scores.support or num_predicted[position] else None,
        )
        for position, scores in enumerate(content.per_class)
    ]
    return sorted(rows, key=lambda row: (row.recall is None, row.recall or 0.0, row.position))
