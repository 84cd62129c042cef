"""Which image trains, which validates, which tests."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.prepare_dataset.found_images import FoundImages
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError

_TRAIN = SPLIT_NAMES.index("train")


@dataclass(frozen=True)
class Division:
    """The split of each image, in the order of the images, and what there is to say about it."""

    splits: npt.NDArray[np.uint8]
    """Places in SPLIT_NAMES."""

    num_moved: int
    """Images drawn for one split and moved to another that had none of a class."""


def split_images(
    images: FoundImages,
    units: Units,
    split: Split,
    *,
    classes: Sequence[str],
    given: frozenset[SplitName],
) -> Division:
    """Assign every image to a split.

    A split that has a folder in the source consists of that folder. The others are carved out of the training
    images: each unit of images that belong together draws its side by a hash of the seed and itself, and of
    nothing else. So shares are met on average, in each class alike, and an image never changes sides because
    others are added or removed, or because it is renamed. Two exceptions: a new near duplicate joins units,
    which then draw one side; and units are moved, as few as can be, into a split that has none of a class.

    Args:
        images: The images that are used.
        units: Which of them stay together.
        split: Shares and seed.
        classes: All class names.
        given: Splits with a folder of their own; empty, or with "train" among them.

    Raises:
        InputError: A class would be missing from a split, one line for each; or all that folds could rotate
            is given.
    """
    refuse_folds_without_use(split, given)
    assigned = _given_splits(images)
    pool = _Pool(units, assigned == _TRAIN)
    for rows in pool.units():
        assigned[rows] = SPLIT_NAMES.index(draw_side(pool.key(rows), split, given=given))
    num_moved = _fill_gaps(images, assigned, pool, split, classes=classes, given=given)
    _refuse_gaps(images, assigned, classes, given=given, pool=pool)
    return Division(assigned, num_moved)


def _given_splits(images: FoundImages) -> npt.NDArray[np.uint8]:
    """Return the split each image stands in, train for one that stands in none."""
    return np.maximum(images.splits, _TRAIN).astype(np.uint8)


class _Pool:
    """The units that a side is drawn for, each as the rows of its training images."""

    def __init__(self, units: Units, is_training: npt.NDArray[np.bool_]) -> None:
        self._keys = units.keys
        self._first = units.first
        self._is_training = is_training
        self._together = {
            first: training
            for first, members in units.members.items()
            if (training := [row for row in members if is_training[row]])
        }
        self._alone = is_training.copy()
        for members in units.members.values():
            self._alone[members] = False

    def units(self) -> Iterator[Sequence[int]]:
        """Yield every unit."""
        yield from self._together.values()
        for row in np.flatnonzero(self._alone).tolist():
            yield (row,)

    def units_of(self, rows: npt.NDArray[np.bool_]) -> list[Sequence[int]]:
        """Return the units that hold one of some images."""
        firsts = np.unique(self._first[np.flatnonzero(rows & self._is_training)]).tolist()
        return [self._together.get(first, (first,)) for first in firsts]

    def key(self, rows: Sequence[int]) -> str:
        """Return the key of a unit: the smallest of its groups, or of its files where it has no groups.

        Which one is smallest is chance, as SHA-256 is; a group's name is hashed for that.
        """
        if len(rows) == 1:
            return self._keys[rows[0]]
        keys = [self._keys[row] for row in rows]
        return min(keys, key=lambda key: (not key.startswith("group "), draw(key, "unit", seed=0)))


def refuse_folds_without_use(split: Split, given: frozenset[SplitName]) -> None:
    """Refuse to rotate a test or validation split when the source holds both."""
    if split.folds > 1 and given >= {"val", "test"}:
        raise InputError(
            f"split.folds: found {split.folds}, but the source has a folder for val and one for test, "
            "so there is nothing to rotate; set split.folds: 1 and split.fold: 0, or remove the folder val"
        )


def refuse_small_classes(
    images: FoundImages, split: Split, *, classes: Sequence[str], given: frozenset[SplitName]
) -> None:
    """Refuse what no split can mend, from the paths alone, before anything is decoded.

    Raises:
        InputError: A class has too few files for every split to have one; one line for each class.
    """
    refuse_folds_without_use(split, given)
    assigned = _given_splits(images)
    carved = [code for code, name in enumerate(SPLIT_NAMES) if code != _TRAIN and name not in given]
    for label in classes:
        rows = np.flatnonzero((images.labels == images.classes.index(label)) & (assigned == _TRAIN))
        assigned[rows[: len(carved)]] = carved[::-1][: len(rows)]
    _refuse_gaps(images, assigned, classes, given=given, pool=None)


def draw_side(key: str, split: Split, *, given: frozenset[SplitName]) -> SplitName:
    """Return the side that a unit draws by itself.

    Validation is drawn apart from test, so that another test_fraction or fold changes little of it.
    """
    place = draw(key, "test", seed=split.seed)
    if split.folds > 1:
        test_fraction = 1 / split.folds
        is_held_out = int(place * split.folds) == split.fold
    else:
        test_fraction = split.test_fraction
        is_held_out = place < test_fraction
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
    return "val" if draw(key, "val", seed=split.seed) < val_fraction else "train"


def draw(key: str, purpose: str, *, seed: int) -> float:
    """Return a number in [0, 1) that is the same on every machine."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _count(images: FoundImages, assigned: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how many images of each class each split has (num_classes, num_splits)."""
    num_splits = len(SPLIT_NAMES)
    cells = images.labels.astype(np.int64) * num_splits + assigned
    return np.bincount(cells, minlength=len(images.classes) * num_splits).reshape(-1, num_splits)


def _fill_gaps(
    images: FoundImages,
    assigned: npt.NDArray[np.uint8],
    pool: _Pool,
    split: Split,
    *,
    classes: Sequence[str],
    given: frozenset[SplitName],
) -> int:
    """Give every split that is carved one image of every class, and return how many images were moved.

    Each time the smallest unit is moved that leaves no other gap behind, the first in an order of chance.
    """
    counts = _count(images, assigned)
    num_moved = 0
    for label in classes:
        code = images.classes.index(label)
        for side, name in enumerate(SPLIT_NAMES):
            if counts[code, side] or (name in given and side != _TRAIN):
                continue
            movable = [
                rows
                for rows in pool.units_of(images.labels == code)
                if _can_leave(images.labels[list(rows)], counts[:, assigned[rows[0]]])
            ]
            if not movable:
                continue
            rows = min(movable, key=lambda rows: (len(rows), draw(pool.key(rows), name, seed=split.seed)))
            leaving = np.bincount(images.labels[list(rows)], minlength=len(counts))
            counts[:, assigned[rows[0]]] -= leaving
            counts[:, side] += leaving
            assigned[list(rows)] = side
            num_moved += len(rows)
    return num_moved


def _can_leave(labels: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> bool:
    """Return whether a unit's split keeps an image of each of its classes without it.

    Args:
        labels: Of the unit's images.
        counts: Images of each class in its split.
    """
    leaving = np.bincount(labels, minlength=len(counts))
    return bool((counts > leaving)[leaving > 0].all())


def _refuse_gaps(
    images: FoundImages,
    assigned: npt.NDArray[np.uint8],
    classes: Sequence[str],
    *,
    given: frozenset[SplitName],
    pool: _Pool | None,
    at_most: int = 10,
) -> None:
    """Refuse a class that is missing from a split, naming the first few."""
    counts = _count(images, assigned)
    codes = {label: images.classes.index(label) for label in classes}
    gaps = [label for label in classes if not counts[codes[label]].all()]
    lines = [
        _describe_gap(
            label,
            dict(zip(SPLIT_NAMES, counts[codes[label]].tolist(), strict=True)),
            given=given,
            num_units=len(pool.units_of(images.labels == codes[label])) if pool else None,
        )
        for label in gaps[:at_most]
    ]
    if len(gaps) > at_most:
        lines.append(f"dataset.source: {len(gaps) - at_most} more classes are missing from a split")
    if lines:
        raise InputError("\n".join(lines))


def _describe_gap(
    label: str, counts: Mapping[SplitName, int], *, given: frozenset[SplitName], num_units: int | None
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
    if num_units is not None and num_units < total and not given:
        together = (
            f" that stay together in {num_units} unit{'' if num_units == 1 else 's'} (duplicates, groups)"
        )
        advice += " that do not belong together"
    return (
        f"dataset.source: class {label}: found {total} usable image{'' if total == 1 else 's'}{together}, "
        f"none left for {' and '.join(missing)}; every split needs one of every class: "
        f"{advice}, or remove the class"
    )
