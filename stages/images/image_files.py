"""Which files of a source are images: by their suffixes or, where those tell nothing, by first bytes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.images.headers import name_other_content
from stages.images.image_names import has_image_suffix, has_other_suffix, suffix_of
from stages.images.sources import Source, UnreadableFile
from stages.shared.errors import printable

_START_BYTES = 1024


class ImageFiles(NamedTuple):
    """What some files are, in their order."""

    is_image: npt.NDArray[np.bool_]
    """(N,): named like an image, or it begins like one. Whether it can be decoded is seen later."""

    reasons: dict[int, str]
    """Why the others are none, by position."""

    num_found: int
    """How many are images by their first bytes alone."""


def find_images(paths: Sequence[str], source: Source | None) -> ImageFiles:
    """Return which files are images.

    Files without a suffix, or with one that neither images nor the usual files beside them have, are looked
    into: one read each.

    Args:
        paths: Of files of the source.
        source: Where to read them; None to go by names alone.

    Raises:
        InputError: An archive is no longer the one that was listed.
    """
    is_image = np.fromiter(map(has_image_suffix, paths), np.bool_, len(paths))
    reasons: dict[int, str] = {}
    num_found = 0
    for place in np.flatnonzero(~is_image).tolist():
        path = paths[place]
        suffix = printable(suffix_of(path))
        if source is None or has_other_suffix(path):
            reasons[place] = f"{suffix} is no image suffix" if suffix else "has no suffix"
            continue
        try:
            content = name_other_content(source.locate(path).read_start(_START_BYTES))
        except UnreadableFile as error:
            reasons[place] = str(error)
            continue
        if content:
            reasons[place] = f"is {content}"
        else:
            is_image[place] = True
            num_found += 1
    return ImageFiles(is_image, reasons, num_found)
