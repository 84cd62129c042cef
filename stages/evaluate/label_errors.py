"""Test images whose label is probably wrong, by confident learning.

Source: Northcutt, Jiang and Chuang 2021, arXiv:1911.00068, equations 1 and 2. The network never saw the test
split, so its probabilities there are the out-of-sample ones that the paper asks for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.evaluate.answers import Answers, split_rows


@dataclass(frozen=True)
class Suspects:
    """The images off the diagonal of the confident joint, the most suspicious first."""

    images: NDArray[np.int64]
    """Positions in the split."""

    classes: NDArray[np.int64]
    """The class that each seems to belong to."""


def find_label_errors(answers: Answers) -> Suspects:
    """Return the images that seem to belong to another class than their label says.

    An image seems to belong to the most probable of those classes to which it is given at least the
    probability that their own images get on average. Of these, the first is the one whose label falls behind
    the other class most.
    """
    labels, num_classes = answers.labels, answers.num_classes
    sums = np.bincount(labels, weights=answers.label_probability, minlength=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    # A class without images has no average: nothing can seem to belong to it.
    averages = torch.from_numpy(np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0))
    seeming, confidence = np.empty(len(labels), dtype=np.int64), np.empty(len(labels))
    for rows in split_rows(len(labels), num_columns=num_classes):
        some = answers.probabilities_of(rows)
        highest, at = torch.where(some >= averages, some, -1.0).max(dim=1)
        confidence[rows], seeming[rows] = highest.numpy(), at.numpy()
    images = np.flatnonzero((confidence >= 0) & (seeming != labels))
    margins = answers.label_probability[images] - confidence[images]
    images = images[np.argsort(margins, kind="stable")]
    return Suspects(images, seeming[images])
