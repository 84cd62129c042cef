"""What prepare-dataset hands over: data/prepared/manifest.json."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.shared.fields import Count, Items, NonNegative, PositiveCount, Sha256
from schemas.shared.image import ImageForm
from schemas.shared.schema import Schema

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


class FileRecord(Schema):
    """A file written beside the manifest."""

    name: str
    num_bytes: Count
    sha256: Sha256


class ShardRecord(Schema):
    """A file of pixels written beside the manifest."""

    name: str
    num_bytes: Count

    blocks_sha256: Sha256
    """SHA-256 of the SHA-256 of each 65,536 bytes of the file."""


class SplitCounts(Schema):
    """Images per class in each split, in the order of the classes."""

    train: Items[PositiveCount]
    val: Items[PositiveCount]
    test: Items[PositiveCount]


class Manifest(Schema):
    """The prepared data set.

    Row i of the image shards, put one after the other, is the image that row i of labels.npy and splits.npy
    speak of; rows stand in the order of index.csv. Labels are positions in `classes`, split codes positions
    in SPLIT_NAMES.
    """

    version: Literal[2]
    classes: Annotated[Items[str], Field(min_length=2)]
    image: ImageForm
    num_images: PositiveCount
    counts: SplitCounts

    mean: Items[NonNegative]
    """Mean of each channel over the training split, pixels scaled to [0, 1]."""

    std: Items[NonNegative]
    """Standard deviation of each channel over the training split, pixels scaled to [0, 1]."""

    image_shards: Annotated[Items[ShardRecord], Field(min_length=1)]
    """uint8 arrays (rows, height, width, channels), channels in RGB order."""

    labels: FileRecord
    """int64 array (num_images,)."""

    splits: FileRecord
    """uint8 array (num_images,)."""

    index: FileRecord
    """One line for every file found in the source, also those left out."""

    @property
    def files(self) -> tuple[FileRecord | ShardRecord, ...]:
        """Return the records of all files beside it."""
        return (*self.image_shards, self.labels, self.splits, self.index)

    @model_validator(mode="after")
    def _counts_add_up(self) -> Self:
        for split in SPLIT_NAMES:
            if len(getattr(self.counts, split)) != len(self.classes):
                raise ValueError(f"counts.{split} does not hold one number a class")
        total = sum(self.counts.train) + sum(self.counts.val) + sum(self.counts.test)
        if total != self.num_images:
            raise ValueError(f"counts add up to {total}, num_images says {self.num_images}")
        if not len(self.mean) == len(self.std) == self.image.num_channels:
            raise ValueError(
                f"mean and std must hold one number for each of {self.image.num_channels} channels"
            )
        return self
