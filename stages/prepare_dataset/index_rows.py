"""The lines of data/prepared/index.csv."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.shared.index import IndexRow, Status
from schemas.shared.manifest import SplitName
from stages.prepare_dataset.fingerprint import Fingerprints
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.units import Units
from stages.shared.text import printable


class LeftOut(NamedTuple):
    """Why an image that could be decoded is not used."""

    status: Status
    reason: str


def describe_images(
    images: Sequence[FoundImage],
    fingerprints: Fingerprints,
    units: Units,
    *,
    splits: Sequence[SplitName],
    left_out: Mapping[int, LeftOut],
) -> list[IndexRow]:
    """Return the line of each image that could be decoded, in their order.

    Args:
        images: All that could be decoded.
        fingerprints: Of each.
        units: Which of them stay together.
        splits: Of the images that are used, in their order.
        left_out: The rows of those that are not.
    """
    remaining = iter(splits)
    rows = []
    for row, image in enumerate(images):
        first = int(units.first[row])
        status, reason = left_out.get(row, LeftOut("used", ""))
        rows.append(
            IndexRow(
                path=printable(image.path),
                label=image.label,
                split="" if row in left_out else next(remaining),
                status=status,
                reason=reason,
                group=printable(images[first].path) if units.num_members[first] > 1 else "",
                sha256=fingerprints["sha256"][row].tobytes().hex(),
                phash=f"{int(fingerprints['phash'][row]):016x}",
                height_px=str(fingerprints["height_px"][row]),
                width_px=str(fingerprints["width_px"][row]),
            )
        )
    return rows
