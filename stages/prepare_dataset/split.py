"""Which image trains, which validates, which tests.

A group's split is a hash of the seed and the group itself, and depends on no other image. So the shares are
met on average, in each class alike, and an image never changes its split because others are added or removed,
or because it is renamed. Two exceptions: a new near duplicate joins two groups into one, which then is in one
split; and groups are moved, as few as possible, into a split that has none of a class.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.shared.errors import InputError

_TRAIN = SPLIT_NAMES.index("train")
UNUSED = -1
"""In place of a split, for a file that is not used."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The split of each file, and what there is to say about it."""

    splits: npt.NDArray[np.int8]
    """(N,), positions in SPLIT_NAMES; UNUSED for a file that is not used."""

    num_moved: int
    """Images moved to a split that would otherwise have none of a class."""


def split_images(
    table: ImageTable,
    groups: Groups,
    split: Split,
    *,
    classes: Sequence[str],
    kept: npt.NDArray[np.int64],
    given: Collection[SplitName],
) -> Assignment:
    """Assign every image that is used to a split.

    A split that has a folder in the source consists of that folder. The others are taken from the training
    images.

    Args:
        table: The files; those of status decoded are used.
        groups: Which of them stay together.
        split: Shares and seed.
        classes: All class names.
        kept: Labels of the classes that must be in every split.
        given: Splits with a folder of their own; empty, or with "train" among them.

    Raises:
        InputError: A class would be missing from a split, one line for each; or nothing is left to rotate by
            folds.
    """
    check_folds(split, given)
    is_used = table.has_status("decoded")
    splits = np.where(is_used, np.maximum(table.split, _TRAIN), UNUSED).astype(np.int8)
    pool = _Pool(table, groups, splits == _TRAIN)
    chosen = (SPLIT_NAMES.index(choose_split(pool.key(rows), split, given=given)) for rows in pool)
    splits[pool.rows] = np.repeat(np.fromiter(chosen, np.int8, len(pool)), pool.sizes)
    counts = _count_images(table, splits, num_classes=len(classes))
    num_moved = _fill_gaps(table, splits, pool, split, counts=counts, kept=kept, given=given)
    _check_gaps(counts, pool, classes=classes, kept=kept, given=given)
    return Assignment(splits, num_moved)


def check_folds(split: Split, given: Collection[SplitName]) -> None:
    """Refuse to rotate a test or validation split when the source holds both."""
    if split.folds > 1 and {"val", "test"} <= set(given):
        raise InputError(
            f"split.folds: found {split.folds}, but the source has a folder for val and one for test, "
            "so there is nothing to rotate; set split.folds: 1 and split.fold: 0, or remove the folder val"
        )


def choose_split(key: str, split: Split, *, given: Collection[SplitName]) -> SplitName:
    """Return the split of a group by its key alone.

    Validation has a random number of its own, so that another test_fraction or fold changes little of it.
    """
    number = random_number(key, "test", seed=split.seed)
    if split.folds > 1:
        test_fraction = 1 / split.folds
        is_held_out = int(number * split.folds) == split.fold
    else:
        test_fraction = split.test_fraction
        is_held_out = number < test_fraction
    if "test" not in given:
        if is_held_out:
            return "test"
    elif split.folds > 1:
        return "val" if is_held_out else "train"
    else:
        test_fraction = 0.0
    if "val" in given:
        return "train"
    val_fraction = split.val_fraction / (1 - test_fraction)
    return "val" if random_number(key, "val", seed=split.seed) < val_fraction else "train"


def random_number(key: str, purpose: str, *, seed: int) -> float:
    """Return a number in [0, 1), from a hash, that is the same on every machine."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class _Pool:
    """The images that are assigned here and not by the source, group after group.

    A group is a list of rows, made when it is asked for: a million lists would take 100 MB.
    """

    def __init__(self, table: ImageTable, groups: Groups, is_free: npt.NDArray[np.bool_]) -> None:
        """Take the groups of the images where `is_free` (N,) is true, without their other images."""
        self._table, self._groups = table, groups
        free = np.flatnonzero(is_free)
        self.rows = free[np.argsort(groups.first[free], kind="stable")]
        _, self._starts, self._group_of, self.sizes = np.unique(
            groups.first[self.rows], return_index=True, return_inverse=True, return_counts=True
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        return map(self._group, range(len(self)))

    def groups_of(self, label: int) -> list[list[int]]:
        """Return the groups with an image of a class."""
        numbers = np.unique(self._group_of[self._table.label[self.rows] == label])
        return [self._group(number) for number in numbers.tolist()]

    def _group(self, number: int) -> list[int]:
        start = self._starts[number]
        rows: list[int] = self.rows[start : start + self.sizes[number]].tolist()
        return rows

    def key(self, rows: Sequence[int]) -> str:
        """Return the key of a group: the smallest of its names, or of its files where it has no name.

        Which file is smallest is chance, as SHA-256 is; names are hashed to that end.
        """
        keys = [self._groups.key(self._table, row) for row in rows]
        if len(keys) == 1:
            return keys[0]
        # "unit" is part of what is hashed: another word would give other splits.
        return min(keys, key=lambda key: (not key.startswith("group "), random_number(key, "unit", seed=0)))


def _count_images(
    table: ImageTable, splits: npt.NDArray[np.int8], *, num_classes: int
) -> npt.NDArray[np.int64]:
    """Return how many images of each class each split has (num_classes, num_splits)."""
    is_used = splits != UNUSED
    cells = table.label[is_used].astype(np.int64) * len(SPLIT_NAMES) + splits[is_used]
    counts = np.bincount(cells, minlength=num_classes * len(SPLIT_NAMES))
    return np.asarray(counts).reshape(num_classes, len(SPLIT_NAMES))


def _fill_gaps(
    table: ImageTable,
    splits: npt.NDArray[np.int8],
    pool: _Pool,
    split: Split,
    *,
    counts: npt.NDArray[np.int64],
    kept: npt.NDArray[np.int64],
    given: Collection[SplitName],
) -> int:
    """Give every split without a folder one image of every class, and return how many images were moved.

    Each time the smallest group is moved that leaves no other gap behind; a hash decides between equals.
    `splits` and `counts` are changed in place.
    """
    num_moved = 0
    for label in kept.tolist():
        for target, name in enumerate(SPLIT_NAMES):
            if counts[label, target] or (name in given and target != _TRAIN):
                continue
            movable = [
                rows
                for rows in pool.groups_of(label)
                if _can_leave(table.label[rows], counts[:, splits[rows[0]]])
            ]
            if not movable:
                continue
            rows = min(
                movable, key=lambda rows: (len(rows), random_number(pool.key(rows), name, seed=split.seed))
            )
            leaving = np.bincount(table.label[rows], minlength=len(counts))
            counts[:, splits[rows[0]]] -= leaving
            counts[:, target] += leaving
            splits[rows] = target
            num_moved += len(rows)
    return num_moved


def _can_leave(labels: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> bool:
    """Return whether a group's split keeps an image of each of its classes without it.

    Args:
        labels: Of the group's images.
        counts: Images of each class in its split.
    """
    leaving = np.bincount(labels, minlength=len(counts))
    return bool((counts > leaving)[leaving > 0].all())


def _check_gaps(
    counts: npt.NDArray[np.int64],
    pool: _Pool,
    *,
    classes: Sequence[str],
    kept: npt.NDArray[np.int64],
    given: Collection[SplitName],
    at_most: int = 10,
) -> None:
    """Refuse a class that is missing from a split, naming the first few."""
    gaps = [label for label in kept.tolist() if not counts[label].all()]
    lines = [
        _describe_gap(
            classes[label],
            dict(zip(SPLIT_NAMES, counts[label].tolist(), strict=True)),
            given=given,
            num_groups=len(pool.groups_of(label)),
        )
        for label in gaps[:at_most]
    ]
    if len(gaps) > at_most:
        lines.append(f"dataset.source: {len(gaps) - at_most} more classes are missing from a split")
    if lines:
        raise InputError("\n".join(lines))


def _describe_gap(
    label: str, counts: Mapping[SplitName, int], *, given: Collection[SplitName], num_groups: int
) -> str:
    total = sum(counts.values())
    if total == 0:
        return (
            f"dataset.source: class {label}: found no usable images; put some into its folder "
            "(links to folders are not followed), or remove the folder"
        )
    missing = [name for name in SPLIT_NAMES if counts[name] == 0]
    if given:
        folders = dict.fromkeys(name if name in given else "train" for name in missing)
        advice = f"put more of it into {' and '.join(folders)}"
    else:
        advice = f"give it at least {len(SPLIT_NAMES)}"
    together = ""
    if num_groups < total and not given:
        together = (
            f" that stay together in {num_groups} group{'' if num_groups == 1 else 's'} "
            "(split.group, copies, near duplicates)"
        )
        advice += " that do not belong together"
    return (
        f"dataset.source: class {label}: found {total} usable image{'' if total == 1 else 's'}{together}, "
        f"none left for {' and '.join(missing)}; every split needs one of every class: "
        f"{advice}, or remove the class"
    )
