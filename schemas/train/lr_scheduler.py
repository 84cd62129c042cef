"""The `lr_scheduler` section: the learning rate over time, as a factor on `optimizer.lr`."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction
from schemas.shared.schema import Schema


class Step(Schema):
    """Multiply by gamma every few epochs."""

    every_epochs: Annotated[int, Field(ge=1, le=10**6)]
    """Epochs between two steps down."""

    gamma: Annotated[float, Field(gt=0, le=1)]
    """Factor of each step down."""


class Cosine(Schema):
    """Half a cosine from 1 down to the final fraction (arXiv:1608.03983, without restarts)."""

    final_lr_fraction: Fraction
    """Learning rate at the end, as a share of optimizer.lr."""


class OneCycle(Schema):
    """Up from 1/div_factor in the warm-up, down to 1/(div_factor * final_div_factor) (arXiv:1708.07120)."""

    div_factor: Annotated[float, Field(ge=1, le=1e9)]
    """The first learning rate is optimizer.lr divided by this."""

    final_div_factor: Annotated[float, Field(ge=1, le=1e9)]
    """The last learning rate is the first one divided by this."""


class LrScheduler(Schema):
    """The schedule and the parameters of every schedule there is; `name` chooses."""

    name: Literal["constant", "step", "cosine", "one_cycle"]
    """Which schedule is used; the block of that name holds what only it needs."""

    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs in which the learning rate rises to its top: linearly, in one_cycle as a half cosine."""

    step: Step
    cosine: Cosine
    one_cycle: OneCycle
