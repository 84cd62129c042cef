"""What prepare-dataset hands over: the form of the images, data/prepared/manifest.json and index.csv."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from schemas.shared.fields import Count, Items, NonNegative, PositiveCount, Schema, Sha256, SidePx

Color = Literal["rgb", "grayscale"]
ResizeMode = Literal["squish", "pad", "crop"]
Depth16 = Literal["high_byte", "full_range", "percentile"]


class ImageForm(Schema):
    """Shape of a prepared image, and how a picture of any size is brought to it."""

    color: Color
    height_px: SidePx
    width_px: SidePx
    resize: ResizeMode
    depth16: Depth16 = "high_byte"
    """How values of more than 8 bits become 8; absent in older checkpoints."""

    @property
    def num_channels(self) -> int:
        """Return 3 for rgb, 1 for grayscale."""
        return 3 if self.color == "rgb" else 1

    @property
    def num_bytes(self) -> int:
        """Return the size of one prepared image."""
        return self.height_px * self.width_px * self.num_channels


SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


class FileRecord(Schema):
    """A file that a stage wrote."""

    name: str
    num_bytes: Count
    sha256: Sha256


class SplitCounts(Schema):
    """Images per class in each split, in the order of the classes."""

    train: Items[PositiveCount]
    val: Items[PositiveCount]
    test: Items[PositiveCount]


class Manifest(Schema):
    """The prepared data set.

    Image i has row i of labels.npy, splits.npy and rows.npy, and the i-th line of index.csv whose status is
    used. Its pixels are row rows[i] of the shards in data/images, put one after the other. Labels are
    positions in `classes`, splits positions in SPLIT_NAMES.
    """

    version: Literal[3]
    classes: Annotated[Items[str], Field(min_length=2)]
    image: ImageForm
    num_images: PositiveCount
    counts: SplitCounts

    mean: Items[NonNegative]
    """Mean of each channel over the training split, pixels scaled to [0, 1]."""

    std: Items[NonNegative]
    """Standard deviation of each channel over the training split, pixels scaled to [0, 1]."""

    image_shards: Annotated[Items[FileRecord], Field(min_length=1)]
    """Files in data/images: uint8 arrays (rows, height, width, channels), channels in RGB order."""

    rows: FileRecord
    """int64 array (num_images,): the row of each image in the shards."""

    labels: FileRecord
    """int64 array (num_images,)."""

    splits: FileRecord
    """uint8 array (num_images,)."""

    index: FileRecord
    """One line for every file of the source, also for those left out."""

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Return the records of all files beside the manifest; the shards are elsewhere."""
        return (self.rows, self.labels, self.splits, self.index)

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


LeakRelation = Literal["copy", "near_duplicate", "group"]
"""What two images on different sides of the split share: their bytes, their looks, or only their group."""

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

    leak: LeakRelation | Literal[""] = ""
    """For an image of val or test in a source with split folders: what it shares with one in a split further
    from the test. Empty for one that shares nothing, and with split.leaks: ignore."""
