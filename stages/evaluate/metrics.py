"""What the testing loop's answers are worth: the headline figures and the per-class table."""

from collections.abc import Sequence

import numpy as np

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from stages.evaluate.answers import Answers
from stages.evaluate.calibration import CalibrationFigures
from stages.evaluate.intervals import Figure
from stages.vision import scores


def compute_metrics(
    answers: Answers, *, figures: Sequence[Figure], calibration: CalibrationFigures
) -> TestMetrics:
    """Return the headline figures, out of what was measured of these very answers."""
    value = {figure.name: figure.value for figure in figures}
    return TestMetrics(
        num_images=answers.num_images,
        loss=value["loss"],
        accuracy=value["accuracy"],
        balanced_accuracy=value["balanced_accuracy"],
        macro_f1=value["macro_f1"],
        matthews_correlation=value["matthews_correlation"],
        roc_auc=value["roc_auc"],
        average_precision=value["average_precision"],
        top_k_accuracy=value["top_k_accuracy"],
        calibration_error=calibration.after.error,
        answered_fraction=calibration.withholding.answered_fraction,
        answered_accuracy=calibration.withholding.accuracy,
        majority_accuracy=float(np.bincount(answers.labels).max() / answers.num_images),
    )


def score_classes(
    confusion: scores.Counts, *, classes: Sequence[str], average_precision: Sequence[float | None]
) -> list[ClassScores]:
    """Return the per-class table, in the order of the classes."""
    tally = scores.tally_confusion(confusion)
    columns = (scores.precision(tally), scores.recall(tally), scores.f1(tally))
    return [
        ClassScores(
            label=label,
            support=int(support),
            precision=precision,
            recall=recall,
            f1=f1,
            average_precision=area,
        )
        for label, support, precision, recall, f1, area in zip(
            classes,
            confusion.sum(axis=1),
            *(column.tolist() for column in columns),
            average_precision,
            strict=True,
        )
    ]


def rank_mistakes(answers: Answers) -> list[int]:
    """Return the wrongly answered images, the one whose true class seemed least likely first."""
    wrong = np.flatnonzero(~answers.is_right)
    order = np.argsort(answers.label_probability[wrong], kind="stable")
    return [int(image) for image in wrong[order]]
