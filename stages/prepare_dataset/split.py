"""Which image trains, which validates, which tests.

Images that belong together form a group, which is never divided. In each class the groups are put in the
order of a hash of the seed and the group, and the first ones are held out: to the image as many as the shares
ask for, where the groups are single images. The order depends on no other image. So where images are added, a
split of n images of a class changes about the square root of what it gains, and renaming changes nothing.
docs/decisions/030-split-by-rank.md has the measurements.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.pool import Pool, random_number
from stages.shared.errors import InputError

_TRAIN = SPLIT_NAMES.index("train")
UNUSED = -1
"""In place of a split, for a file that is not used."""

_MIN_FOUND = 0.5
"""Of its share: with fewer images a split is not what was asked for."""

Codes = npt.NDArray[np.int8]
"""Positions in SPLIT_NAMES; UNUSED for a file that is not used."""

Counts = npt.NDArray[np.int64]
"""Images of each class in each split (num_classes, num_splits)."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The split of each file, and what there is to say about it."""

    splits: Codes
    """(N,)"""

    num_moved: int
    """Images moved to a split that would otherwise have none of a class."""

    shares: Mapping[SplitName, tuple[int, float]]
    """Images in each split that is drawn here and not given by the source, beside the number asked for."""


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
        InputError: A class would be missing from a split, or a split would have less than half of its share
            because of one group; or folds are asked for that cannot be had.
    """
    check_folds(split, given)
    is_used = table.has_status("decoded")
    splits = np.where(is_used, np.maximum(table.split, _TRAIN), UNUSED).astype(np.int8)
    pool = Pool(table, groups, splits == _TRAIN, classes=classes, seed=split.seed)
    fractions = list_fractions(split, given)
    rotated = None if split.folds == 1 else next(iter(fractions))
    drawn = np.full(len(pool), _TRAIN, dtype=np.int8)
    for name, fraction in fractions.items():
        if name == rotated:
            parts = pool.divide(name, split.folds)
            _check_parts(parts, pool, split, classes=classes, kept=kept)
            is_chosen = parts == split.fold
        else:
            is_chosen = pool.choose(name, fraction, drawn == _TRAIN)
        drawn[is_chosen] = SPLIT_NAMES.index(name)
    splits[pool.rows] = np.repeat(drawn, pool.sizes)
    counts = _count_images(table, splits, num_classes=len(classes))
    # What rotates must stay a partition, and what is given stays as it is.
    fixed = {*(name for name in given if name != "train"), *([rotated] if rotated else [])}
    num_moved = _fill_gaps(table, splits, pool, split, counts=counts, kept=kept, fixed=fixed)
    _check_gaps(counts, pool, classes=classes, kept=kept, given=given)
    _check_shares(splits, pool, fractions)
    shares = {name: (found, wanted) for name, found, wanted in _list_shares(splits, pool, fractions)}
    return Assignment(splits, num_moved, shares)


def check_folds(split: Split, given: Collection[SplitName]) -> None:
    """Refuse to rotate a test or validation split when the source holds both."""
    if split.folds > 1 and {"val", "test"} <= set(given):
        raise InputError(
            f"split.folds: found {split.folds}, but the source has a folder for val and one for test, "
            "so there is nothing to rotate; set split.folds: 1 and split.fold: 0, or remove the folder val"
        )


def list_fractions(split: Split, given: Collection[SplitName]) -> dict[SplitName, float]:
    """Return which splits are taken from the training images, in this order, and the share of each.

    With folds the first one rotates: test, or val where the source has a test folder.
    """
    val: dict[SplitName, float] = {} if "val" in given else {"val": split.val_fraction}
    if split.folds > 1:
        return {"val": 1 / split.folds} if "test" in given else {"test": 1 / split.folds, **val}
    return val if "test" in given else {"test": split.test_fraction, **val}


def _count_images(table: ImageTable, splits: Codes, *, num_classes: int) -> Counts:
    """Return how many images of each class each split has (num_classes, num_splits)."""
    is_used = splits != UNUSED
    cells = table.label[is_used].astype(np.int64) * len(SPLIT_NAMES) + splits[is_used]
    counts = np.bincount(cells, minlength=num_classes * len(SPLIT_NAMES))
    return np.asarray(counts).reshape(num_classes, len(SPLIT_NAMES))


def _fill_gaps(
    table: ImageTable,
    splits: Codes,
    pool: Pool,
    split: Split,
    *,
    counts: Counts,
    kept: npt.NDArray[np.int64],
    fixed: Collection[SplitName],
) -> int:
    """Give every split but those that are fixed one image of every class; return how many were moved.

    Each time the smallest group is moved that leaves no other gap behind; a hash decides between equals.
    `splits` and `counts` are changed in place.
    """
    num_moved = 0
    for label in kept.tolist():
        for target, name in enumerate(SPLIT_NAMES):
            if counts[label, target] or name in fixed:
                continue
            movable = [
                rows
                for rows in pool.groups_of(label)
                if SPLIT_NAMES[splits[rows[0]]] not in fixed
                and _can_leave(table.label[rows], counts[:, splits[rows[0]]])
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
    counts: Counts,
    pool: Pool,
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
            pool=pool,
            of_class=pool.groups_of(label),
        )
        for label in gaps[:at_most]
    ]
    if len(gaps) > at_most:
        lines.append(f"dataset.source: {len(gaps) - at_most} more classes are missing from a split")
    if lines:
        raise InputError("\n".join(lines))


def _describe_gap(
    label: str,
    counts: Mapping[SplitName, int],
    *,
    given: Collection[SplitName],
    pool: Pool,
    of_class: Sequence[Sequence[int]],
) -> str:
    total, num_groups = sum(counts.values()), len(of_class)
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
        advice = f"give it at least {max(len(SPLIT_NAMES), num_groups + 1)}"
    together = ""
    if num_groups < total and not given:
        ties = pool.groups.describe_ties([row for rows in of_class for row in rows])
        together = f" that stay together in {num_groups} group{'' if num_groups == 1 else 's'}, by {ties}"
        advice += " that do not belong together"
    return (
        f"dataset.source: class {label}: found {total} usable image{'' if total == 1 else 's'}{together}, "
        f"none left for {' and '.join(missing)}; every split needs one of every class: "
        f"{advice}, or leave the class out with audit.tiny_class: exclude (below audit.min_class_images)"
    )


def _check_parts(
    parts: npt.NDArray[np.int64],
    pool: Pool,
    split: Split,
    *,
    classes: Sequence[str],
    kept: npt.NDArray[np.int64],
    at_most: int = 10,
) -> None:
    """Refuse folds that do not all have every class, whichever of them is held out now."""
    labels = pool.table.label[pool.rows].astype(np.int64)
    cells = labels * split.folds + np.repeat(parts, pool.sizes)
    has_part = np.bincount(cells, minlength=len(classes) * split.folds).reshape(-1, split.folds) > 0
    lines = []
    for label in [label for label in kept.tolist() if not has_part[label].all()][:at_most]:
        of_class = pool.groups_of(label)
        images = f"{sum(map(len, of_class))} image{'' if sum(map(len, of_class)) == 1 else 's'}"
        ties = (
            f" that stay together in {len(of_class)} groups"
            if any(len(rows) > 1 for rows in of_class)
            else ""
        )
        lines.append(
            f"split.folds: found {split.folds}, but class {classes[label]} reaches "
            f"{int(has_part[label].sum())} of the folds, with {images}{ties}; every image tests in one fold, "
            "so each fold needs some of every class: set it lower, or set audit.tiny_class: exclude"
        )
    if lines:
        raise InputError("\n".join(lines))


def _list_shares(
    splits: Codes, pool: Pool, fractions: Mapping[SplitName, float]
) -> list[tuple[SplitName, int, float]]:
    """Return the images of the pool in each split that is drawn, and how many were asked for."""
    found = np.bincount(splits[pool.rows], minlength=len(SPLIT_NAMES)).tolist()
    asked = {**fractions, "train": 1 - sum(fractions.values())}
    return [
        (name, found[code], asked[name] * len(pool.rows))
        for code, name in enumerate(SPLIT_NAMES)
        if fractions and name in asked
    ]


def _check_shares(splits: Codes, pool: Pool, fractions: Mapping[SplitName, float]) -> None:
    """Refuse a split that has less than half of its share because groups are too large to be divided.

    That every class has an image in every split counts as asked for: small classes alone are no mistake.
    """
    totals = pool.totals[pool.totals > 0]
    least = {name: np.maximum(1, fraction * totals).sum() for name, fraction in fractions.items()}
    least["train"] = len(pool.rows) - sum(least.values())
    of_group = splits[pool.rows[pool.starts]] if len(pool) else splits[:0]
    is_large = (pool.sizes > 1) & (2 * pool.sizes > pool.totals[pool.classes])
    for name, found, wanted in _list_shares(splits, pool, fractions):
        is_elsewhere = is_large & (of_group != SPLIT_NAMES.index(name))
        lacking = least[name] - found
        if found < _MIN_FOUND * least[name] and pool.sizes[is_elsewhere].sum() >= lacking:
            number = int(np.argmax(np.where(is_elsewhere, pool.sizes, 0)))
            raise InputError(
                f"split: {name} would have {found:,} images where about {wanted:,.0f} of {len(pool.rows):,} "
                f"are asked for: {pool.groups.describe(pool.table, pool.group(number))}"
            )
