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
    images of each class, by the rank of a hash of seed and path: the same on every machine, whatever the order
    of the files.

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
        members.sort(key=lambda i: _rank(images[i].path, seed=split.seed))
        start = 0
        for name, count in _counts_to_carve(len(members), carved).items():
            for i in members[start : start + count]:
                assigned[i] = name
            start += count
    _refuse_gaps(images, assigned, classes, num_carved=len(carved))
    return assigned


def _training_members_by_class(
    images: Sequence[FoundImage], assigned: Sequence[SplitName], classes: Sequence[str]
) -> list[list[int]]:
    members: dict[str, list[int]] = {label: [] for label in classes}
    for i, image in enumerate(images):
        if assigned[i] == "train":
            members[image.label].append(i)
    return list(members.values())


def _rank(path: str, *, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0".encode() + path.encode("utf-8", "surrogateescape")).digest()


def _counts_to_carve(num_images: int, carved: dict[SplitName, float]) -> dict[SplitName, int]:
    """Return how many of a class's images each split gets: its share, at least one, leaving one to train on."""
    counts = {name: max(1, round(num_images * fraction)) for name, fraction in carved.items()}
    while sum(counts.values()) >= num_images and max(counts.values(), default=0) > 1:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    return counts


def _refuse_gaps(
    images: Sequence[FoundImage], assigned: Sequence[SplitName], classes: Sequence[str], *, num_carved: int
) -> None:
    counts = {label: dict.fromkeys(SPLIT_NAMES, 0) for label in classes}
    for image, name in zip(images, assigned, strict=True):
        counts[image.label][name] += 1
    lines = []
    for label, of_split in counts.items():
        missing = [name for name in SPLIT_NAMES if of_split[name] == 0]
        if missing:
            total = sum(of_split.values())
            lines.append(
                f"dataset.source: class {label}: found {total} usable image{'' if total == 1 else 's'}, "
                f"none left for {' and '.join(missing)}; every split needs one of every class: "
                f"add images (at least {num_carved + 1} to train and be split), or remove the class"
            )
    if lines:
        raise InputError("\n".join(lines))
