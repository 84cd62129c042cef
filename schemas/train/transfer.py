"""The `transfer` section: how pretrained weights are trained further."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Schema

LrFactor = Annotated[float, Field(gt=0, le=1000)]


class Transfer(Schema):
    """The backbone is all of a network but its last module, which is the head."""

    freeze: Literal["backbone"] | None
    """backbone: only the head is trained; the rest keeps its weights until it is unfrozen, and its
    batch-norm statistics for good."""

    unfreeze_after_epochs: Annotated[int, Field(ge=1, le=10**6)] | None
    """Epochs after which a frozen backbone is trained too; null for never."""

    backbone_lr_factor: LrFactor
    """Factor on the learning rate of the backbone."""

    head_lr_factor: LrFactor
    """Factor on the learning rate of the head."""
