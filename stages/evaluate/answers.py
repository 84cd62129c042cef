"""The network's answers for the test images: decided in one place, so that no two figures can disagree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.vision.calibration import Calibration
from stages.vision.calibration import compute_probabilities
from stages.vision.scores import Counts, Numbers, count_confusion

_NUMBERS_AT_ONCE = 2**18
_NUMBERS_KEPT = 2**22

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """What the network said of N test images, after calibration.

    The answer for an image is its most probable class, of equals the first, as predict has it. Of the
    numbers (N, C) only the logits are kept: probabilities in float64 would take twice as much memory.
    """

    logits: Tensor
    """float32 (N, C)."""

    calibration: Calibration
    labels: Counts
    """int64 (N,), positions of the true classes."""

    predicted: Counts
    """int64 (N,), positions of the answers."""

    probability: Numbers
    """(N,), of the answer."""

    raw_probability: Numbers
    """(N,), of the answer before calibration."""

    label_probability: Numbers
    """(N,), of the true class."""

    losses: Numbers
    """(N,), negative log-probability of the true class, in nats."""

    label_rank: Counts
    """int64 (N,), how many classes come before the true one: 0 where the answer is right."""

    @property
    def num_images(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Return C."""
        return self.logits.shape[1]

    @property
    def is_right(self) -> Flags:
        """Return bool (N,), whether the answer is the true class."""
        return np.equal(self.predicted, self.labels)

    @property
    def confusion(self) -> Counts:
        """Return int64 (C, C), rows true classes, columns answers."""
        return count_confusion(self.labels, self.predicted, num_classes=self.num_classes)

    def probabilities_of(self, images: slice | Counts) -> Tensor:
        """Return float64 (n, C), rows adding up to 1, for some of the images."""
        return compute_probabilities(self.logits[images], self.calibration)

    def each_column(self, labels: Sequence[int]) -> Iterator[tuple[int, Numbers]]:
        """Yield each of these classes and its probabilities (N,), the bits that the rows have."""
        at_once = max(1, _NUMBERS_KEPT // self.num_images)
        for start in range(0, len(labels), at_once):
            some = list(labels[start : start + at_once])
            columns = np.empty((len(some), self.num_images))
            for block in split_rows(self.num_images, num_columns=self.num_classes):
                columns[:, block] = self.probabilities_of(block)[:, some].T
            yield from zip(some, columns, strict=True)


def decide_answers(logits: Tensor, labels: Tensor, *, calibration: Calibration) -> Answers:
    """Return the answers for logits float32 (N, C) and labels int64 (N,), working in blocks of images."""
    parts = [
        _decide_block(logits[block], labels[block], calibration=calibration)
        for block in split_rows(len(labels), num_columns=logits.shape[1])
    ]
    predicted, label_rank, numbers = (np.concatenate(some) for some in zip(*parts, strict=True))
    probability, raw_probability, label_probability, losses = np.ascontiguousarray(numbers.T)
    return Answers(
        logits=logits,
        calibration=calibration,
        labels=labels.numpy(),
        predicted=predicted,
        probability=probability,
        raw_probability=raw_probability,
        label_probability=label_probability,
        losses=losses,
        label_rank=label_rank,
    )


def split_rows(num_rows: int, *, num_columns: int) -> Iterator[slice]:
    """Yield slices of rows that together are all of them, none of more than some hundred thousand numbers."""
    step = max(1, _NUMBERS_AT_ONCE // num_columns)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def _decide_block(
    logits: Tensor, labels: Tensor, *, calibration: Calibration
) -> tuple[Counts, Counts, Numbers]:
    probabilities = compute_probabilities(logits, calibration)
    probability, predicted = probabilities.max(dim=1)
    at_label = labels[:, None]
    of_label = probabilities.gather(1, at_label)
    # How many classes come before the true one; of equals the first, as in the answer itself.
    comes_first = torch.arange(logits.shape[1]) < at_label
    label_rank = ((probabilities > of_label) | ((probabilities == of_label) & comes_first)).sum(dim=1)
    scaled = logits.double() / calibration.temperature
    top = scaled.max(dim=1, keepdim=True).values
    total = (scaled - top).exp().sum(dim=1, keepdim=True)
    # Not the logarithm of the probability, which is 0 for a class that is out of the question.
    losses = total.log() - (scaled.gather(1, at_label) - top)
    raw = torch.softmax(logits.double(), dim=1).gather(1, predicted[:, None])
    numbers = torch.cat([probability[:, None], raw, of_label, losses], dim=1)
    return predicted.numpy(), label_rank.numpy(), numbers.numpy()
