"""The images that darkroom splits itself, in groups: which of them a split gets.

Hides how groups are ranked, and how shares are met to the image although no image's rank depends on another.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from schemas.shared.manifest import SplitName
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups

_MAX_EXCESS = 1.5
"""Times its share in a class: a larger group would take a held-out split too far from it, and trains."""

Mask = npt.NDArray[np.bool_]


def random_number(key: str, purpose: str, *, seed: int) -> float:
    """Return a number in [0, 1), from a hash, that is the same on every machine."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Pool:
    """The images that are assigned here and not by the source, group after group.

    Each group counts for one class, the rarest of those it has images of: that one is the hardest to spread.
    A group is a list of rows, made when it is asked for: a million lists would take 100 MB.
    """

    def __init__(
        self, table: ImageTable, groups: Groups, is_free: Mask, *, classes: Sequence[str], seed: int
    ) -> None:
        """Take the groups of the images where `is_free` (N,) is true, without their other images."""
        self.table, self.groups, self._classes, self._seed = table, groups, classes, seed
        free = np.flatnonzero(is_free)
        self.rows = free[np.argsort(groups.first[free], kind="stable")]
        _, self.starts, self._group_of, self.sizes = np.unique(
            groups.first[self.rows], return_index=True, return_inverse=True, return_counts=True
        )
        labels = table.label[self.rows]
        by_rarity = np.argsort(np.bincount(labels, minlength=len(classes)), kind="stable")
        rarity = np.argsort(by_rarity)
        self.classes = (
            by_rarity[np.minimum.reduceat(rarity[labels], self.starts)] if len(free) else labels.astype(int)
        )
        """(num_groups,), the class that each group counts for."""

        self.totals = np.bincount(self.classes, weights=self.sizes, minlength=len(classes))
        """(num_classes,), images of the groups that count for each class."""

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.group, range(len(self)))

    def groups_of(self, label: int) -> list[list[int]]:
        """Return the groups with an image of a class."""
        numbers = np.unique(self._group_of[self.table.label[self.rows] == label])
        return [self.group(number) for number in numbers.tolist()]

    def group(self, number: int) -> list[int]:
        """Return the rows of a group."""
        start = self.starts[number]
        rows: list[int] = self.rows[start : start + self.sizes[number]].tolist()
        return rows

    def key(self, rows: Sequence[int]) -> str:
        """Return the key of a group: the smallest of its names, or of its files where it has no name.

        Which file is smallest is chance, as SHA-256 is; names are hashed to that end.
        """
        keys = [self.groups.key(self.table, row) for row in rows]
        if len(keys) == 1:
            return keys[0]
        # "unit" is part of what is hashed: another word would give other splits.
        return min(keys, key=lambda key: (not key.startswith("group "), random_number(key, "unit", seed=0)))

    def choose(self, purpose: SplitName, fraction: float, is_free: Mask) -> Mask:
        """Return which groups a held-out split gets (num_groups,): a share of every class, one at least.

        Args:
            purpose: Name of the split: each one has an order of its own, so that another share of one split
                changes little of the other.
            fraction: The share, of all images.
            is_free: (num_groups,), the groups to choose from.
        """
        share = np.maximum(1, fraction * self.totals)
        limit = np.maximum(1, _MAX_EXCESS * fraction * self.totals)
        numbers = np.flatnonzero(is_free & (self.sizes <= limit[self.classes]))
        is_chosen = np.zeros(len(self), dtype=np.bool_)
        points = self._line_up(numbers, self.sizes[numbers], purpose)
        is_chosen[numbers] = points < share[self.classes[numbers]]
        return is_chosen

    def divide(self, purpose: SplitName, num_parts: int) -> npt.NDArray[np.int64]:
        """Return which of several equal parts each group belongs to (num_groups,).

        A class of as many groups as there are parts has one in each: a group that is larger than a part
        counts as large as one.
        """
        weights = self.sizes.astype(np.float64)
        by_class = np.argsort(self.classes, kind="stable")
        for some in np.split(by_class, np.flatnonzero(np.diff(self.classes[by_class])) + 1):
            weights[some] = np.minimum(weights[some], _cap(self.sizes[some], num_parts))
        totals = np.bincount(self.classes, weights=weights, minlength=len(self._classes))
        points = self._line_up(np.arange(len(self)), weights, purpose)
        parts = np.minimum(points * num_parts / totals[self.classes], num_parts - 1)
        return np.asarray(parts, dtype=np.int64)

    def _line_up(
        self,
        numbers: npt.NDArray[np.int64],
        weights: npt.NDArray[np.int64] | npt.NDArray[np.float64],
        purpose: SplitName,
    ) -> npt.NDArray[np.float64]:
        """Lay groups end to end, those of each class on a line of their own, in the order of their hashes.

        Returns:
            (len(numbers),), a point within each group, as far from its start in all groups of a class. How
            far is chance: so the groups that shares cut in two fall to either side as often as is fair, and
            what is rounded up in one class is rounded down in another.
        """
        keys = (self.key(self.group(number)) for number in numbers.tolist())
        hashes = np.fromiter((random_number(key, purpose, seed=self._seed) for key in keys), float)
        classes = self.classes[numbers]
        order = np.lexsort((hashes, classes))
        classes, lengths = classes[order], weights[order]
        starts = np.cumsum(lengths) - lengths
        is_first = np.diff(classes, prepend=-1) > 0
        starts = starts - np.maximum.accumulate(np.where(is_first, starts, 0))
        offsets = np.array(
            [random_number(f"class {name}", purpose, seed=self._seed) for name in self._classes]
        )
        points = np.empty(len(numbers))
        points[order] = starts + offsets[classes] * lengths
        return points


def _cap(sizes: npt.NDArray[np.int64], num_parts: int) -> float:
    """Return the largest weight of a group with which the lightest of so many equal parts holds one."""
    falling = np.sort(sizes)[::-1]
    rests = falling.sum() - np.cumsum(falling) + falling
    for num_larger in range(min(num_parts, len(sizes))):
        cap = rests[num_larger] / (num_parts - num_larger)
        if falling[num_larger] <= cap:
            return float(cap)
    return 1.0
