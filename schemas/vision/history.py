"""Metrics of every epoch: data/model/history.json."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Fraction, Items, NonNegative, PositiveCount
from schemas.shared.schema import Schema

EndedBy = Literal["num_epochs", "early_stopping", "time_budget"]


class Scores(Schema):
    """Metrics of a network on one split."""

    loss: float
    accuracy: Fraction
    balanced_accuracy: Fraction
    macro_f1: Fraction


class EpochRecord(Schema):
    """One epoch of training and the validation after it."""

    epoch: PositiveCount
    lr: NonNegative
    """Learning rate of the epoch's last step."""

    train_loss: float
    """Mean loss per image over the epoch's steps: the weights change meanwhile, augmentation applies."""

    train_accuracy: Fraction
    """Accuracy over the epoch's steps: the weights change meanwhile, augmentation applies."""

    val: Scores


class History(Schema):
    """All epochs, and the best of them."""

    best_metric: str
    best_epoch: PositiveCount
    ended_by: EndedBy
    """What ended training."""

    is_repeatable: bool
    """Whether another run gives the same bytes; under a time budget that depends on the machine's speed."""

    epochs: Annotated[Items[EpochRecord], Field(min_length=1)]
