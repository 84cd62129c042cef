"""Which image trains, which validates, which tests."""

import hashlib
from collections.abc import Sequence

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.prepare_dataset.collect import FoundImage
from stages.shared.errors import InputError


def split_images(
    images: Sequence[FoundImage], split: Split, *, classes: Sequence[str], given: frozenset[SplitName]
) -> list[SplitName]:
    """Assign every image to a split.

    A split that has a folder in the source consists of that folder. The others are carved out of the training
    images of each class, by the rank of a hash of seed and path: the same on every machine, whatever the
    order of the files, in a folder or in an archive of it.

    Args:
        images: The images that are used.
        split: Shares and seed.
        classes: All class names.
        given: Splits with a folder of their own; empty, or with "train" among them.

    Returns:
        The split of each image, in the order of the images.

    Raises:
        InputError: A class would be missing from a split; one line for each class.
    """
    fractions: dict[SplitName, float] = {"test": split.test_fraction, "val": split.val_fraction}
    carved = {name: fraction for name, fraction in fractions.items() if name not in given}
    assigned: list[SplitName] = [image.split or "train" for image in images]
    for members in _training_members_by_class(images, assigned, classes):
        members.sort(key=lambda i: _rank(images[i].key, seed=split.seed))
        start = 0
        for name, count in _counts_to_carve(len(members), carved).items():
            for i in members[start : start + count]:
                assigned[i] = name
            start += count
    _refuse_gaps(images, assigned, classes, given=given)
    return assigned


def _training_members_by_class(
    images: Sequence[FoundImage], assigned: Sequence[SplitName], classes: Sequence[str]
) -> list[list[int]]:
    members: dict[str, list[int]] = {label: [] for label in classes}
    for i, image in enumerate(images):
        if assigned[i] == "train":
            members[image.label].append(i)
    return list(members.values())


def _rank(key: str, *, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0".encode() + key.encode("utf-8", "surrogatepass")).digest()


def _counts_to_carve(num_images: int, carved: dict[SplitName, float]) -> dict[SplitName, int]:
    """Return how many images of a class each split gets: its share, at least one, leaving one to train on."""
    counts = {name: max(1, round(num_images * fraction)) for name, fraction in carved.items()}
    while sum(counts.values()) >= num_images and max(counts.values(), default=0) > 1:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    return counts


def _refuse_gaps(
    images: Sequence[FoundImage],
    assigned: Sequence[SplitName],
    classes: Sequence[str],
    *,
    given: frozenset[SplitName],
    at_most: int = 10,
) -> None:
    """Refuse a class that is missing from a split, naming the first few."""
    counts = {label: dict.fromkeys(SPLIT_NAMES, 0) for label in classes}
    for image, name in zip(images, assigned, strict=True):
        counts[image.label][name] += 1
    gaps = {label: of_split for label, of_split in counts.items() if 0 in of_split.values()}
    lines = [_describe_gap(label, of_split, given=given) for label, of_split in list(gaps.items())[:at_most]]
    if len(gaps) > at_most:
        lines.append(f"dataset.source: {len(gaps) - at_most} more classes are missing from a split")
    if lines:
        raise InputError("\n".join(lines))


def _describe_gap(label: str, counts: dict[SplitName, int], *, given: frozenset[SplitName]) -> str:
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
    return (
        f"dataset.source: class {label}: found {total} usable image{'' if total == 1 else 's'}, "
        f"none left for {' and '.join(missing)}; every split needs one of every class: "
        f"{advice}, or remove the class"
    )
