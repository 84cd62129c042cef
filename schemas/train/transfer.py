"""The `transfer` section: how weights that were trained before are treated."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.schema import Schema

LrFactor = Annotated[float, Field(gt=0, le=1000)]


class Transfer(Schema):
    """The backbone is all of a network but its last module, which is the head."""

    freeze: Literal["none", "backbone"]
    """backbone: only the head is trained; the rest keeps its weights and batch-norm statistics."""

    unfreeze_after_epochs: Literal["never"] | Annotated[int, Field(ge=1, le=10**6)]
    """never, or the epochs after which a frozen backbone is trained too."""

    backbone_lr_factor: LrFactor
    """Factor on the learning rate of the backbone."""

    head_lr_factor: LrFactor
    """Factor on the learning rate of the head."""
