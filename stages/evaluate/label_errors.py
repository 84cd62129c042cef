"""Test images whose label is probably wrong, by confident learning.

Source: Northcutt, Jiang and Chuang 2021, arXiv:1911.00068, equations 1 and 2. The network never saw the test
split, so its probabilities there are the out-of-sample ones that the paper asks for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Suspects:
    """The images off the diagonal of the confident joint, the most suspicious first."""

    images: NDArray[np.int64]
    """Positions in the split."""

    classes: NDArray[np.int64]
    """The class that each seems to belong to."""


def find_label_errors(probabilities: Tensor, labels: Tensor) -> Suspects:
    """Return the images that seem to belong to another class than their label says.

    An image seems to belong to the most probable of those classes to which it is given at least the
    probability that their own images get on average. Of these, the first is the one whose label falls behind
    the other class most.

    Args:
        probabilities: float (N, C).
        labels: int64 (N,), which may be wrong.
    """
    num_classes = probabilities.shape[1]
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    sums = np.bincount(labels.numpy(), weights=own.numpy(), minlength=num_classes)
    counts = np.bincount(labels.numpy(), minlength=num_classes)
    # A class without images has no average: nothing can seem to belong to it.
    averages = np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0)
    seeming = torch.empty_like(labels)
    confidence = torch.empty(len(labels), dtype=probabilities.dtype)
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        some = probabilities[rows]
        reached = torch.where(some >= torch.from_numpy(averages), some, -1.0)
        confidence[rows], seeming[rows] = reached.max(dim=1)
    is_suspect = ((confidence >= 0) & (seeming != labels)).numpy()
    images = np.flatnonzero(is_suspect)
    margins = (own - confidence).numpy()[images]
    images = images[np.argsort(margins, kind="stable")]
    return Suspects(images, seeming.numpy()[images])
