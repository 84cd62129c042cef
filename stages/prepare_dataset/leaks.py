"""Images that belong together but stand in different split folders of the source."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.index_rows import LeftOut
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError
from stages.shared.text import printable

# The later split is the closer to the figures that are reported, so it is the one kept clean of leaks.
_CLOSENESS = {split: place for place, split in enumerate(SPLIT_NAMES)}


@dataclass(frozen=True, slots=True)
class Leak:
    """An image that stands in one split folder while what it belongs with stands in another."""

    row: int

    twin: int
    """One of those it belongs with, in the folder closest to the test."""


def closeness_to_test(image: FoundImage) -> int:
    """Return 0 for an image to train on, or without a split folder, 1 for val, 2 for test."""
    return _CLOSENESS[image.split or "train"]


def find_leaks(images: Sequence[FoundImage], units: Units) -> list[Leak]:
    """Return the images that belong with others in a split folder closer to the test, in their order."""
    leaks = []
    for members in units.members.values():
        closeness = [closeness_to_test(images[row]) for row in members]
        twin = members[closeness.index(max(closeness))]
        leaks += [
            Leak(row, twin) for row, place in zip(members, closeness, strict=True) if place < max(closeness)
        ]
    return sorted(leaks, key=lambda leak: leak.row)


def take_out_leaks(
    leaks: Sequence[Leak], images: Sequence[FoundImage], split: Split, *, source: str, at_most: int = 10
) -> dict[int, LeftOut]:
    """Do as split.leaks says: print or refuse them, and return those that are to be left out.

    Raises:
        InputError: There are leaks, and split.leaks is error.
    """
    if not leaks or split.leaks == "ignore":
        return {}
    reasons = {leak.row: f"belongs with {printable(images[leak.twin].path)}" for leak in leaks}
    lines = [
        f"{source}/{printable(images[row].path)}: {reason}, which stands in another split"
        for row, reason in list(reasons.items())[:at_most]
    ]
    if len(leaks) > at_most:
        lines.append(f"{source}: {len(leaks) - at_most:,} more that belong with an image in another split")
    if split.leaks == "error":
        raise InputError(
            "\n".join(f"{line}; keep one of them, or set split.leaks: exclude or warn" for line in lines)
        )
    for line in lines:
        print(f"prepare-dataset: {'left out' if split.leaks == 'exclude' else 'leak:'} {line}")
    if split.leaks == "warn":
        return {}
    return {row: LeftOut("leak", reason) for row, reason in reasons.items()}
