"""Images that belong together but are on different sides of the split.

Only a source with split folders of its own has any: what darkroom splits itself, it never divides.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, LeakRelation
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.shared.errors import InputError, printable

_TRAIN, _TEST = SPLIT_NAMES.index("train"), SPLIT_NAMES.index("test")

RELATIONS: tuple[LeakRelation, ...] = get_args(LeakRelation)

_WORDS: dict[LeakRelation, str] = {
    "copy": "is the same file as",
    "near_duplicate": "looks like",
    "group": "belongs with",
}

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mates:
    """Images that have a mate, that is one they belong with, on another side of the split."""

    rows: Numbers
    """(M,), rising."""

    mates: Numbers
    """(M,), the row of the mate that is nearest to the image: a copy if there is one."""

    relations: npt.NDArray[np.uint8]
    """(M,), positions in RELATIONS."""

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self, table: ImageTable, number: int) -> str:
        """Say what one of the images has to do with its mate."""
        mate = printable(table.path[self.mates[number]])
        return f"{_WORDS[RELATIONS[self.relations[number]]]} {mate}"


def closeness_to_test(table: ImageTable) -> npt.NDArray[np.int8]:
    """Return 0 for an image to train on, or without a split folder, 1 for val, 2 for test.

    The later split is the closer to the metrics that are reported, so it is the one kept clean of leaks.
    """
    return np.maximum(table.split, _TRAIN)


def find_leaks(table: ImageTable, groups: Groups) -> Mates:
    """Return the images that belong with others in a split folder closer to the test."""
    return _find_mates(groups, closeness_to_test(table), table.has_status("decoded"))


def find_leaked(groups: Groups, splits: npt.NDArray[np.int8]) -> Mates:
    """Return the images of val and test that belong with one in a split further from the test.

    Args:
        groups: Which images belong together.
        splits: (N,), positions in SPLIT_NAMES, negative for a file that is not used.
    """
    return _find_mates(groups, -splits, splits >= _TRAIN)


def count_tested(leaked: Mates, splits: npt.NDArray[np.int8]) -> dict[LeakRelation, int]:
    """Return how many test images have a mate in training or validation, by what they share with it."""
    of_test = leaked.relations[splits[leaked.rows] == _TEST]
    counts = np.bincount(of_test, minlength=len(RELATIONS)).tolist()
    return dict(zip(RELATIONS, counts, strict=True))


def _find_mates(groups: Groups, rank: npt.NDArray[np.int8], is_used: npt.NDArray[np.bool_]) -> Mates:
    """Return each used image with a mate of a higher rank: a copy, else a near duplicate, else any."""
    file = np.arange(len(rank))
    file[groups.copies[:, 1]] = groups.copies[:, 0]
    best_of_group, best_of_file = (_best_of_each(key, rank, is_used) for key in (groups.first, file))
    best_near = np.full(len(rank), -1)  # for the first copy of a file
    near = np.concatenate((groups.near, groups.near[:, ::-1]))
    near = np.stack((near[:, 0], best_of_file[near[:, 1]]), axis=1)
    near = near[near[:, 1] >= 0]
    # The last of what is assigned twice stays: the highest rank, and of those the first row.
    near = near[np.lexsort((-near[:, 1], rank[near[:, 1]]))]
    best_near[near[:, 0]] = near[:, 1]

    rows = np.flatnonzero(is_used)
    rows = rows[rank[rows] < rank[best_of_group[groups.first[rows]]]]
    mates = best_of_group[groups.first[rows]]
    relations = np.full(len(rows), RELATIONS.index("group"), dtype=np.uint8)
    nearer: tuple[tuple[LeakRelation, Numbers], ...] = (
        ("near_duplicate", best_near[file[rows]]),
        ("copy", best_of_file[file[rows]]),
    )
    for relation, others in nearer:
        is_mate = (others >= 0) & (rank[others] > rank[rows])
        mates[is_mate] = others[is_mate]
        relations[is_mate] = RELATIONS.index(relation)
    return Mates(rows, mates, relations)


def _best_of_each(keys: Numbers, rank: npt.NDArray[np.int8], is_used: npt.NDArray[np.bool_]) -> Numbers:
    """Return at each key (N,) the used row of the highest rank that has it, the first of several, or -1."""
    best = np.full(len(keys), -1)
    rows = np.flatnonzero(is_used)
    rows = rows[np.lexsort((-rows, rank[rows]))]
    best[keys[rows]] = rows
    return best


def handle_leaks(table: ImageTable, leaks: Mates, split: Split, *, at_most: int = 10) -> ImageTable:
    """Return the table with leaks left out if split.leaks says so, or stop.

    Raises:
        InputError: There are leaks, and split.leaks is error.
    """
    if not len(leaks) or split.leaks in ("ignore", "warn"):
        return table
    if split.leaks == "error":
        lines = [
            f"{printable(table.path[row])}: {leaks.describe(table, number)}, which is in another split"
            for number, row in enumerate(leaks.rows[:at_most].tolist())
        ]
        if len(leaks) > at_most:
            lines.append(f"{len(leaks) - at_most:,} more that belong with an image in another split")
        raise InputError(
            "\n".join(f"{line}; keep one of them, or set split.leaks: exclude or warn" for line in lines)
        )
    reasons = {row: leaks.describe(table, number) for number, row in enumerate(leaks.rows.tolist())}
    return table.leave_out(reasons, "leak")
