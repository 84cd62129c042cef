"""One line of data/prepared/index.csv: a file of the source and what became of it."""

from typing import Literal

from schemas.shared.manifest import SplitName
from schemas.shared.schema import Schema

Status = Literal["used", "undecodable", "not_an_image"]


class IndexRow(Schema):
    """A file of the source; files that are used stand in the order of the packed rows."""

    path: str
    """Path inside the source, with forward slashes."""

    label: str
    """Class name."""

    split: SplitName | Literal[""]
    """Empty for a file left out."""

    status: Status

    reason: str
    """Why the file was left out; empty for one that is used."""
