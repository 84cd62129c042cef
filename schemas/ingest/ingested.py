"""What ingest hands over: data/images/manifest.json."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Count, Items, Schema
from schemas.shared.manifest import FileRecord, ImageForm, SplitName


class Ingested(Schema):
    """The decoded source: what holds for all of its files. What holds for each is in the table.

    Row i of the shards, put one after the other, is the image whose `row` in the table is i. Rows stand in
    the order of the table, which is that of the paths.
    """

    version: Literal[1]
    image: ImageForm
    classes: Annotated[Items[str], Field(min_length=2)]
    """Class names, sorted, also those without a decodable image."""

    given_splits: Items[SplitName]
    """Splits that have a folder of their own in the source, or stand in its table of labels."""

    wrapper: str
    """What every path starts with that is no part of its key: the one folder that everything is below."""

    num_images: Count
    """Rows of the shards."""

    num_hidden: Count
    """Files whose names, or whose folders' names, begin with a dot; they have no row."""

    num_system_files: Count
    """Files that operating systems leave behind, such as Thumbs.db; they have no row."""

    shards: Items[FileRecord]
    """uint8 arrays (rows, height, width, channels), channels in RGB order."""

    table: FileRecord
    """A row for every other file of the source, in the columns of `stages.images.image_table`."""

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Return the records of all files beside the manifest."""
        return (*self.shards, self.table)
