"""Which image trains, which validates, which tests."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError


@dataclass(frozen=True)
class Division:
    """The split of each image, in the order of the images, and what there is to say about it."""

    splits: tuple[SplitName, ...]

    num_moved: int
    """Images drawn for one split and moved to another that had none of a class."""


def split_images(
    images: Sequence[FoundImage],
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
    assigned: list[SplitName] = [image.split or "train" for image in images]
    pool = {
        first: training
        for first, members in units.members.items()
        if (training := [row for row in members if assigned[row] == "train"])
    }
    keys = {first: _unit_key(units.keys[row] for row in members) for first, members in pool.items()}
    for first, members in pool.items():
        side = draw_side(keys[first], split, given=given)
        for row in members:
            assigned[row] = side
    num_moved = _fill_gaps(images, assigned, pool, keys, split, classes=classes, given=given)
    _refuse_gaps(images, assigned, classes, given=given, num_units=_count_units(images, pool))
    return Division(tuple(assigned), num_moved)


def refuse_folds_without_use(split: Split, given: frozenset[SplitName]) -> None:
    """Refuse to rotate a test or validation split when the source holds both."""
    if split.folds > 1 and given >= {"val", "test"}:
        raise InputError(
            f"split.folds: found {split.folds}, but the source has a folder for val and one for test, "
            "so there is nothing to rotate; set split.folds: 1 and split.fold: 0, or remove the folder val"
        )


def refuse_small_classes(
    images: Sequence[FoundImage], split: Split, *, classes: Sequence[str], given: frozenset[SplitName]
) -> None:
    """Refuse what no split can mend, from the paths alone, before anything is decoded.

    Raises:
        InputError: A class has too few files for every split to have one; one line for each class.
    """
    refuse_folds_without_use(split, given)
    assigned: list[SplitName] = [image.split or "train" for image in images]
    carved = [name for name in SPLIT_NAMES[1:] if name not in given]
    wanted = {label: list(carved) for label in classes}
    for row, image in enumerate(images):
        if assigned[row] == "train" and wanted[image.label]:
            assigned[row] = wanted[image.label].pop()
    _refuse_gaps(images, assigned, classes, given=given, num_units={})


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


def _unit_key(keys: Iterable[str]) -> str:
    """Return the key of a unit: the smallest of its groups, or of its files where it has no groups.

    Which one is smallest is chance, as SHA-256 is; a group's name is hashed for that.
    """
    return min(keys, key=lambda key: (not key.startswith("group "), draw(key, "unit", seed=0)))


def _fill_gaps(
    images: Sequence[FoundImage],
    assigned: list[SplitName],
    pool: Mapping[int, Sequence[int]],
    keys: Mapping[int, str],
    split: Split,
    *,
    classes: Sequence[str],
    given: frozenset[SplitName],
) -> int:
    """Give every split that is carved one image of every class, and return how many images were moved.

    Each time the smallest unit is moved that leaves no other gap behind, the first in an order of chance.
    """
    counts = Counter((image.label, side) for image, side in zip(images, assigned, strict=True))
    units_of_class: dict[str, list[int]] = defaultdict(list)
    for first, members in pool.items():
        for label in dict.fromkeys(images[row].label for row in members):
            units_of_class[label].append(first)
    num_moved = 0
    for label in classes:
        for side in SPLIT_NAMES:
            if counts[label, side] or (side in given and side != "train"):
                continue
            movable = [
                first for first in units_of_class[label] if _can_leave(pool[first], images, assigned, counts)
            ]
            if not movable:
                continue
            first = min(movable, key=lambda unit: (len(pool[unit]), draw(keys[unit], side, seed=split.seed)))
            for row in pool[first]:
                counts[images[row].label, assigned[row]] -= 1
                counts[images[row].label, side] += 1
                assigned[row] = side
            num_moved += len(pool[first])
    return num_moved


def _can_leave(
    members: Sequence[int],
    images: Sequence[FoundImage],
    assigned: Sequence[SplitName],
    counts: Mapping[tuple[str, SplitName], int],
) -> bool:
    """Return whether a unit's split keeps an image of each of its classes without it."""
    leaving = Counter(images[row].label for row in members)
    side = assigned[members[0]]
    return all(counts[label, side] > number for label, number in leaving.items())


def _count_units(images: Sequence[FoundImage], pool: Mapping[int, Sequence[int]]) -> dict[str, int]:
    """Return how many units with images to carve from each class has."""
    return Counter(label for members in pool.values() for label in {images[row].label for row in members})


def _refuse_gaps(
    images: Sequence[FoundImage],
    assigned: Sequence[SplitName],
    classes: Sequence[str],
    *,
    given: frozenset[SplitName],
    num_units: Mapping[str, int],
    at_most: int = 10,
) -> None:
    """Refuse a class that is missing from a split, naming the first few."""
    counts = {label: dict.fromkeys(SPLIT_NAMES, 0) for label in classes}
    for image, name in zip(images, assigned, strict=True):
        counts[image.label][name] += 1
    gaps = {label: of_split for label, of_split in counts.items() if 0 in of_split.values()}
    lines = [
        _describe_gap(label, of_split, given=given, num_units=num_units.get(label))
        for label, of_split in list(gaps.items())[:at_most]
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
