"""The `evaluation` section: what the test report holds."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import BatchCount, Items
from schemas.shared.schema import Schema
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
]
"""What the test images can be divided by: two figures of the image, or a column of index.csv."""


class Evaluation(Schema):
    """The testing loop and the report."""

    checkpoint: Literal["best", "last"]
    """Which checkpoint is tested: the best epoch by training.best_metric, or the last epoch."""

    batch_size: BatchCount
    """Images per forward pass."""

    device: Device
    """auto takes cuda, then mps, then cpu."""

    top_k: Annotated[int, Field(ge=2, le=10_000)]
    """An answer counts for top-k accuracy when the true class is among the k most probable."""

    target_accuracy: Annotated[float, Field(gt=0, le=1)]
    """Share of the answers that should be right: the report withholds those too improbable for it."""

    slices: Items[SliceName]
    """What accuracy is told apart by, in data/report/slices.csv: image_size, brightness, or a column of
    data/prepared/index.csv. Numbers are cut into quarters, of texts the 20 most frequent are kept."""

    corruptions: Literal["none", "standard"]
    """standard tests every image 18 times more: noisy, blurred, brighter, of less contrast, as a poor JPEG
    and turned, each at three strengths."""

    num_worst: Annotated[int, Field(ge=0, le=100)]
    """How many pictures the report shows of each: the worst mistakes, the least certain answers, and the
    suspected label errors."""
