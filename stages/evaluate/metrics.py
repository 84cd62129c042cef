"""What the testing loop's answers are worth."""

import numpy as np
import torch
from torch import Tensor

from schemas.evaluate.test_metrics import ClassScores, TestMetrics
from stages.evaluate import intervals
from stages.evaluate.calibration import CalibrationFigures
from stages.vision import scores


def compute_metrics(
    logits: Tensor, labels: Tensor, *, top_k: int, calibration: CalibrationFigures
) -> TestMetrics:
    """Return the headline figures for logits float (N, C) and labels int64 (N,).

    Args:
        logits: As the network gives them.
        labels: Positions of the true classes.
        top_k: How many classes an answer may name for top_k_accuracy.
        calibration: What was measured of these very logits.
    """
    confusion = scores.count_confusion(
        labels.numpy(), logits.argmax(dim=1).numpy(), num_classes=logits.shape[1]
    )
    losses, is_in_top_k = score_images(logits, labels, temperature=calibration.temperature, top_k=top_k)
    return TestMetrics(
        num_images=len(labels),
        loss=losses.mean().item(),
        accuracy=scores.accuracy(confusion),
        balanced_accuracy=scores.balanced_accuracy(confusion),
        macro_f1=scores.macro_f1(confusion),
        matthews_correlation=float(intervals.matthews_correlation(confusion)),
        top_k_accuracy=is_in_top_k.double().mean().item(),
        calibration_error=calibration.after.error,
        answered_fraction=calibration.withholding.answered_fraction,
        answered_accuracy=calibration.withholding.accuracy,
        majority_accuracy=float(confusion.sum(axis=1).max() / confusion.sum()),
    )


def score_images(logits: Tensor, labels: Tensor, *, temperature: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Return each image's loss, float64 (N,), and whether its class is among the most probable, bool (N,)."""
    log_probabilities = torch.log_softmax(logits.double() / temperature, dim=1)
    # How many classes come before the true one; of equal logits the first, as argmax has it.
    of_label = logits.gather(1, labels[:, None])
    comes_first = torch.arange(logits.shape[1]) < labels[:, None]
    is_before = (logits > of_label) | ((logits == of_label) & comes_first)
    losses = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    return losses, is_before.sum(dim=1) < top_k


def score_classes(confusion: scores.Counts, classes: tuple[str, ...]) -> list[ClassScores]:
    """Return the per-class table, in the order of the classes."""
    columns = (scores.precision(confusion), scores.recall(confusion), scores.f1(confusion))
    return [
        ClassScores(label=label, support=int(support), precision=precision, recall=recall, f1=f1)
        for label, support, precision, recall, f1 in zip(
            classes,
            confusion.sum(axis=1),
            *(column.tolist() for column in columns),
            strict=True,
        )
    ]


def rank_mistakes(probabilities: Tensor, labels: Tensor) -> list[int]:
    """Return the wrongly answered images (N,), the one whose true class seemed least likely first."""
    of_label = probabilities.gather(1, labels[:, None]).squeeze(1).numpy()
    wrong = np.flatnonzero((probabilities.argmax(dim=1) != labels).numpy())
    return [int(image) for image in wrong[np.argsort(of_label[wrong], kind="stable")]]
