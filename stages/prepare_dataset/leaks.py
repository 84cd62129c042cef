"""Images that belong together but are in different split folders of the source."""

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.shared.errors import InputError, printable

_TRAIN = SPLIT_NAMES.index("train")

Leaks = npt.NDArray[np.int64]
"""Array (num_leaks, 2): an image, and one of its group in the folder closest to the test."""


def closeness_to_test(table: ImageTable) -> npt.NDArray[np.int8]:
    """Return 0 for an image to train on, or without a split folder, 1 for val, 2 for test.

    The later split is the closer to the metrics that are reported, so it is the one kept clean of leaks.
    """
    return np.maximum(table.split, _TRAIN)


def find_leaks(table: ImageTable, groups: Groups) -> Leaks:
    """Return the images that belong with others in a split folder closer to the test, in their order."""
    rows = np.flatnonzero(groups.sizes > 1)
    closeness = closeness_to_test(table)
    # Group after group, in each the images closest to the test first, those in the order of their rows.
    order = rows[np.lexsort((-closeness[rows], groups.first[rows]))]
    _, starts, group_of = np.unique(groups.first[order], return_index=True, return_inverse=True)
    twins = order[starts[group_of]]
    is_leak = closeness[order] < closeness[twins]
    leaks = np.stack((order[is_leak], twins[is_leak]), axis=1)
    return np.asarray(leaks[np.argsort(leaks[:, 0])])


def handle_leaks(table: ImageTable, leaks: Leaks, split: Split, *, at_most: int = 10) -> ImageTable:
    """Return the table with leaks left out if split.leaks says so; print the first few, or stop.

    Raises:
        InputError: There are leaks, and split.leaks is error.
    """
    if not len(leaks) or split.leaks == "ignore":
        return table
    lines = [
        f"{printable(table.path[row])}: belongs with {printable(table.path[twin])}, which is in another split"
        for row, twin in leaks[:at_most].tolist()
    ]
    if len(leaks) > at_most:
        lines.append(f"{len(leaks) - at_most:,} more that belong with an image in another split")
    if split.leaks == "error":
        raise InputError(
            "\n".join(f"{line}; keep one of them, or set split.leaks: exclude or warn" for line in lines)
        )
    for line in lines:
        print(f"prepare-dataset: {'left out' if split.leaks == 'exclude' else 'leak:'} {line}")
    if split.leaks == "warn":
        return table
    reasons = {row: f"belongs with {printable(table.path[twin])}" for row, twin in leaks.tolist()}
    return table.leave_out(reasons, "leak")
