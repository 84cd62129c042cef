"""The `lr_scheduler` section: the learning rate over time, as a factor on `optimizer.lr`."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.shared.fields import Fraction, Items, NonNegative, PositiveCount, Schema


class Step(Schema):
    """Multiply by gamma every few epochs."""

    every_epochs: Annotated[int, Field(ge=1, le=10**6)]
    """Epochs between two steps down."""

    gamma: Annotated[float, Field(gt=0, le=1)]
    """Factor of each step down."""


class MultiStep(Schema):
    """Multiply by gamma after each of the epochs named."""

    milestones: Annotated[Items[PositiveCount], Field(min_length=1, max_length=1000)]
    """Epochs after which the learning rate steps down, in rising order."""

    gamma: Annotated[float, Field(gt=0, le=1)]
    """Factor of each step down."""

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if any(later <= earlier for earlier, later in itertools.pairwise(self.milestones)):
            raise ValueError("milestones must rise: each epoch once, the earlier before the later")
        return self


class Plateau(Schema):
    """Multiply by gamma when training.best_metric has not improved for some epochs."""

    patience_epochs: Annotated[int, Field(ge=0, le=10**6)]
    """Epochs without improvement that are tolerated; one more lowers the learning rate."""

    min_delta: NonNegative
    """By how much the metric must improve to count."""

    gamma: Annotated[float, Field(gt=0, lt=1)]
    """Factor of each step down."""

    min_lr_fraction: Fraction
    """The learning rate never falls below this fraction of optimizer.lr."""


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

    anneal_strategy: Literal["cos", "linear"]
    """How it rises and falls: along half a cosine, or a straight line."""


class LrScheduler(Schema):
    """The schedule and the parameters of every schedule there is; `name` chooses."""

    name: Literal["constant", "step", "multi_step", "cosine", "one_cycle", "plateau"]
    """Which schedule is used; the block of that name holds what only it needs."""

    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs in which the learning rate rises to its top: linearly, in one_cycle by its anneal_strategy."""

    step: Step
    multi_step: MultiStep
    cosine: Cosine
    one_cycle: OneCycle
    plateau: Plateau
