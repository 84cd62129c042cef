"""The `evaluation` section: what the test report holds."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import BatchCount, Items, Schema
from schemas.vision.runtime import Device

SliceName = Literal[
    "image_size",
    "brightness",
    "label",
    "group",
    "height_px",
    "width_px",
    "path",
    "split",
    "status",
    "reason",
    "sha256",
    "phash",
    "leak",
]
"""What the test images can be divided by: two properties of the image, or a column of index.csv."""


class Evaluation(Schema):
    """The testing loop and the report."""

    checkpoint: Literal["best", "last"]
    """Which checkpoint is tested: the best epoch by training.best_metric, or the last epoch."""

    batch_size: BatchCount
    """Images per forward pass."""

    device: Device
    """auto takes cuda, then mps, then cpu."""

    top_k: Annotated[int, Field(ge=2, le=10_000)]
    """A prediction counts for top-k accuracy if the true class is among the k most probable."""

    target_accuracy: Annotated[float, Field(gt=0, le=1)]
    """The report shows which fraction of the images is kept when predictions of low confidence are rejected
    to reach this accuracy."""

    confidence: Annotated[float, Field(gt=0, lt=1)]
    """How sure the validation split must be that the kept predictions reach target_accuracy: at 0.9, one
    trained network in ten may break the promise on new images."""

    slices: Items[SliceName]
    """Subgroups to report the accuracy of: by image_size, brightness, or a column of data/prepared/index.csv.
    Numbers are divided into quarters; of texts, the 20 most frequent are kept."""

    corruptions: Literal["standard"] | None
    """standard also tests on corrupted images: noise, blur, brightness, contrast, JPEG compression, rotation,
    at three severities each, which takes 18 more passes over the test split. null skips this."""

    baseline: Literal["features"] | None
    """features also tests what the pretrained network's features reach without any training of it: nearest
    neighbours and a linear probe. It takes one pass over all images; networks from random weights have none.
    null skips this."""

    num_worst: Annotated[int, Field(ge=0, le=100)]
    """Number of pictures in the report, of each: worst mistakes, suspected label errors, least confident
    predictions, random predictions."""
