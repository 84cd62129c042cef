"""One line of data/prepared/index.csv: a file of the source and what became of it."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from schemas.shared.manifest import SplitName

Status = Literal["used", "undecodable", "not_an_image", "outside_classes", "not_in_table", "leak", "audit"]


class IndexRow(NamedTuple):
    """A file of the source; the lines of used files are in the order of the prepared images.

    A NamedTuple, not a Schema: there may be a million, and validating them would take longer than writing.
    """

    path: str
    """Path inside the source, with forward slashes."""

    label: str
    """Class name."""

    split: SplitName | Literal[""]
    """Empty for a file left out."""

    status: Status

    reason: str
    """Why the file was left out; empty for one that is used."""

    group: str
    """Path of the first image of its group, all of which is in one split; empty for an image without one."""

    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
    """Of the file's bytes; empty for a file that could not be decoded."""

    phash: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
    """Perceptual hash; those of images that look alike differ in few bits. Empty as above."""

    height_px: Annotated[str, Field(pattern="^[0-9]*$")]
    width_px: Annotated[str, Field(pattern="^[0-9]*$")]
    """Of the image in its file, upright. Empty as above."""
