"""A listing row by row, for tests to compare."""

from pathlib import Path
from typing import NamedTuple

from schemas.shared.manifest import SPLIT_NAMES, SplitName
from stages.images import sources
from stages.images.image_table import STATUSES
from stages.images.sources import Source
from stages.ingest.listing import Listing
from stages.shared.errors import printable


class Listed(NamedTuple):
    """A file of a source."""

    path: str
    label: str
    split: SplitName | None
    group: str
    status: str
    reason: str


def rows_of(listing: Listing) -> list[Listed]:
    """Return every file of a listing."""
    table = listing.table
    return [
        Listed(
            table.path[row],
            "" if table.label[row] < 0 else listing.classes[table.label[row]],
            None if table.split[row] < 0 else SPLIT_NAMES[table.split[row]],
            table.group[row],
            STATUSES[table.status[row]],
            table.reason[row],
        )
        for row in range(len(table))
    ]


def images_of(listing: Listing) -> list[Listed]:
    """Return the files that are to be decoded."""
    return [row for row in rows_of(listing) if row.status == "decoded"]


def unused_of(listing: Listing) -> list[Listed]:
    """Return the other files, their paths as they look printed."""
    return [row._replace(path=printable(row.path)) for row in rows_of(listing) if row.status != "decoded"]


def open_source(path: Path) -> Source:
    """Open a source as the stage does."""
    return sources.open_source(path, place=f"dataset.source: {path}")
