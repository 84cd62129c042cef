"""The network's predictions for the test images: made in one place, so that no two metrics can disagree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.vision.checkpoint import Calibration
from stages.vision.inference import compute_probabilities
from stages.vision.scores import count_confusion

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A block of this many float64 fits into the cache; all columns of many classes would not fit into memory.
_BLOCK_VALUES = 2**18
_MAX_COLUMN_VALUES = 2**22


@dataclass(frozen=True)
class Predictions:
    """Predictions for N test images and C classes, after calibration.

    The predicted class is the one with the highest probability; ties go to the first class, as in predict.
    Only the logits are kept for all classes: float64 probabilities (N, C) would take twice as much memory.
    """

    logits: Tensor
    """float32 (N, C)."""

    calibration: Calibration
    labels: Ints
    """int64 (N,), positions of the true classes."""

    predicted: Ints
    """int64 (N,), positions of the predicted classes."""

    confidence: Floats
    """(N,), probability of the predicted class."""

    raw_confidence: Floats
    """(N,), probability of the predicted class before calibration."""

    label_probability: Floats
    """(N,), probability of the true class."""

    losses: Floats
    """(N,), negative log-probability of the true class, in nats."""

    label_rank: Ints
    """int64 (N,), how many classes rank above the true one: 0 where the prediction is correct."""

    @property
    def num_images(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Return C."""
        return self.logits.shape[1]

    @property
    def is_correct(self) -> Bools:
        """Return bool (N,), whether the predicted class is the true one."""
        return np.equal(self.predicted, self.labels)

    @property
    def confusion(self) -> Ints:
        """Return int64 (C, C), rows true classes, columns predicted classes."""
        return count_confusion(self.labels, self.predicted, num_classes=self.num_classes)

    def probabilities(self, images: slice | Ints) -> Tensor:
        """Return float64 (n, C), rows adding up to 1, for some of the images."""
        return compute_probabilities(self.logits[images], self.calibration)

    def class_probabilities(self, labels: Sequence[int]) -> Iterator[tuple[int, Floats]]:
        """Yield each of these classes with its probabilities (N,), to the bit those of `probabilities`."""
        num_at_once = max(1, _MAX_COLUMN_VALUES // self.num_images)
        for start in range(0, len(labels), num_at_once):
            some = list(labels[start : start + num_at_once])
            columns = np.empty((len(some), self.num_images))
            for block in split_rows(self.num_images, num_columns=self.num_classes):
                columns[:, block] = self.probabilities(block)[:, some].T
            yield from zip(some, columns, strict=True)


def split_by_class(labels: Ints) -> list[Ints]:
    """Return the images of each class, ascending, up to the highest class in labels (N,)."""
    # One sort: a mask for each class looks at all images as often as there are classes.
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def make_predictions(logits: Tensor, labels: Tensor, *, calibration: Calibration) -> Predictions:
    """Return the predictions for logits float32 (N, C) and labels int64 (N,), block by block."""
    blocks = [
        _predict_block(logits[block], labels[block], calibration=calibration)
        for block in split_rows(len(labels), num_columns=logits.shape[1])
    ]
    predicted, label_rank, values = (np.concatenate(some) for some in zip(*blocks, strict=True))
    confidence, raw_confidence, label_probability, losses = np.ascontiguousarray(values.T)
    return Predictions(
        logits=logits,
        calibration=calibration,
        labels=labels.numpy(),
        predicted=predicted,
        confidence=confidence,
        raw_confidence=raw_confidence,
        label_probability=label_probability,
        losses=losses,
        label_rank=label_rank,
    )


def split_rows(num_rows: int, *, num_columns: int) -> Iterator[slice]:
    """Yield slices that cover all rows, each of about 260,000 values at most."""
    step = max(1, _BLOCK_VALUES // num_columns)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def _predict_block(logits: Tensor, labels: Tensor, *, calibration: Calibration) -> tuple[Ints, Ints, Floats]:
    probabilities = compute_probabilities(logits, calibration)
    # From probabilities, not logits: two logits that differ may round to the same probability.
    confidence, predicted = probabilities.max(dim=1)
    at_label = labels[:, None]
    of_label = probabilities.gather(1, at_label)
    # Ties rank in class order, as in `predicted`, so that top-k accuracy is never below accuracy.
    is_before = torch.arange(logits.shape[1]) < at_label
    label_rank = ((probabilities > of_label) | ((probabilities == of_label) & is_before)).sum(dim=1)
    scaled = logits.double() / calibration.temperature
    top = scaled.max(dim=1, keepdim=True).values
    log_total = (scaled - top).exp().sum(dim=1, keepdim=True).log()
    # Not the logarithm of the probability: that underflows to 0, and the loss would be infinite.
    losses = log_total - (scaled.gather(1, at_label) - top)
    raw = torch.softmax(logits.double(), dim=1).gather(1, predicted[:, None])
    values = torch.cat([confidence[:, None], raw, of_label, losses], dim=1)
    return predicted.numpy(), label_rank.numpy(), values.numpy()
