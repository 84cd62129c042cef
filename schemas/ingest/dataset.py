"""The `dataset` section: which images, and what shape they are given."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from schemas.shared.fields import OneLine, PlainPath, Schema, SidePx
from schemas.shared.manifest import Color, Depth16, ResizeMode


def _refuse_what_is_no_table(text: str) -> str:
    parts = text.replace("\\", "/").split("/")
    if not text.lower().endswith(".csv") or "\\" in text or not set(parts).isdisjoint(("", ".", "..")):
        raise ValueError("allowed: folders, or the path of a .csv inside dataset.source, such as labels.csv")
    return text


TablePath = Annotated[
    str,
    OneLine,
    AfterValidator(_refuse_what_is_no_table),
    WithJsonSchema({"type": "string", "pattern": r"\.[cC][sS][vV]$"}),  # what an editor can tell
]


class Dataset(Schema):
    """Where the images are and how they are read."""

    source: Annotated[str, Field(min_length=1), OneLine, PlainPath]
    """A folder of class folders, or a .zip, .tar, .tar.gz, .tar.bz2, .tar.xz or .tar.zst of one; train/, val/
    and test/ may stand above them."""

    labels: Literal["folders"] | TablePath
    """folders: class and split are those of an image's folders. Or the path of a CSV inside the source that
    names them: path,label[,split][,group], paths relative to the folder it stands in."""

    color: Color
    """rgb keeps three channels, grayscale one."""

    height_px: SidePx
    """Height every image is resized to."""

    width_px: SidePx
    """Width every image is resized to."""

    resize: ResizeMode
    """squish ignores the aspect ratio, pad adds black bars, crop cuts the longer side around the centre."""

    depth16: Depth16
    """How gray levels of more than 8 bits (PNG, TIFF, gray PGM and JPEG 2000) become the 8 that are kept.

    high_byte keeps the upper 8 bits: 12-bit data stored in 16 come out nearly black. full_range makes each
    image's lowest value 0 and its highest 255. percentile makes the value that 0.5 % of an image's values do
    not exceed 0, and the one that 99.5 % do not exceed 255, so that a few hot pixels do not matter. Both look
    at each image on its own, at all colours together, and never make a difference larger than it is: an image
    with a range of less than 255 is not spread. How bright one image is beside another is lost."""

    undecodable: Literal["exclude", "error"]
    """What to do with a file that is no readable image: leave it out and say so, or stop."""

    max_pixels: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """An image whose header claims more is undecodable. A worker takes some 6 bytes for each; kinds of images
    that take more are refused sooner, in proportion."""

    max_file_bytes: Annotated[int, Field(ge=1, le=2**40)]
    """A larger file is undecodable; it is not read."""

    max_decode_seconds: Annotated[float, Field(ge=0.1, le=3600)]
    """An image of up to 10 megapixels that takes more CPU time to decode is undecodable. A larger one may
    take more in proportion, and so may kinds that take more memory for each pixel."""

    workers: Annotated[int, Field(ge=1, le=256)]
    """Number of processes that read and decode; the result does not depend on it."""
