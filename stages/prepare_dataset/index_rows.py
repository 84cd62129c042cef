"""The lines of data/prepared/index.csv for the images of the source, made one by one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.shared.index import IndexRow, Status
from schemas.shared.manifest import SPLIT_NAMES
from stages.prepare_dataset.fingerprint import Fingerprints
from stages.prepare_dataset.found_images import FoundImage, FoundImages
from stages.prepare_dataset.units import Units
from stages.prepare_dataset.unused_files import describe_left_out
from stages.shared.text import printable


class LeftOut(NamedTuple):
    """Why an image that could be decoded is not used."""

    status: Status
    reason: str


_USED = LeftOut("used", "")

_ROWS_PER_BLOCK = 4096


def describe_images(
    images: FoundImages,
    fingerprints: Fingerprints,
    units: Units,
    *,
    splits: npt.NDArray[np.uint8],
    left_out: Mapping[int, LeftOut],
) -> Iterator[IndexRow]:
    """Yield the line of each image that could be decoded, in their order.

    Args:
        images: All that could be decoded.
        fingerprints: Of each.
        units: Which of them stay together.
        splits: Of the images that are used, in their order: places in SPLIT_NAMES.
        left_out: The rows of those that are not.
    """
    remaining = map(SPLIT_NAMES.__getitem__, splits)
    for start in range(0, len(images), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        some, measured = images[rows], fingerprints[rows]
        hashes = measured["sha256"].tobytes().hex()
        columns = zip(
            some.paths,
            some.labels.tolist(),
            units.first[rows].tolist(),
            *(measured[name].tolist() for name in ("phash", "height_px", "width_px")),
            strict=True,
        )
        for place, (path, label, first, phash, height_px, width_px) in enumerate(columns):
            status, reason = left_out.get(start + place, _USED)
            yield IndexRow(
                path=printable(path),
                label=images.classes[label],
                split=next(remaining) if status == "used" else "",
                status=status,
                reason=reason,
                group=printable(images[first].path) if first in units.members else "",
                sha256=hashes[64 * place : 64 * place + 64],
                phash=f"{phash:016x}",
                height_px=str(height_px),
                width_px=str(width_px),
            )


def describe_undecodable(images: Sequence[FoundImage], reasons: Mapping[int, str]) -> Iterator[IndexRow]:
    """Yield the line of each image that could not be decoded, in their order."""
    for row, reason in sorted(reasons.items()):
        yield describe_left_out(images[row].path, images[row].label, status="undecodable", reason=reason)
