"""All that the report tells, before it is put in words and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from schemas.shared.manifest import Manifest
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import History
from stages.evaluate.audit import KindOfFinding
from stages.evaluate.calibration import CalibrationFigures
from stages.evaluate.curves import ClassCurves
from stages.evaluate.exhibits import Exhibits
from stages.evaluate.intervals import Figure
from stages.evaluate.robustness import CorruptedScore
from stages.evaluate.slices import Slice


@dataclass(frozen=True)
class ReportContent:
    """What was measured, and what it was measured on."""

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
    num_units: int
    """How many units the test images form: those of one group, or copies of each other, are drawn together in
    the bootstrap. As many as images where each stands alone."""

    curves: Sequence[ClassCurves]
    """Precision-recall and ROC curves of the largest classes."""

    slices: Sequence[Slice]
    """Accuracy by what evaluation.slices names."""

    corrupted: Sequence[CorruptedScore]
    """Accuracy on corrupted images; none unless evaluation.corruptions asks for it."""

    exhibits: Exhibits
    findings: Sequence[KindOfFinding]
    """What the audit of the data found."""

    @property
    def num_mistakes(self) -> int:
        """Return how many test images were answered wrongly."""
        return int(self.confusion.sum() - np.trace(self.confusion))
