"""The `split` section: which images train, which validate, which test."""

from typing import Self

from pydantic import model_validator

from schemas.shared.fields import ProperFraction, Seed
from schemas.shared.schema import Schema


class Split(Schema):
    """Shares of each class that are held out of training.

    A split folder in the source takes precedence: only the splits that have no folder of their own are carved
    out of the training images.
    """

    val_fraction: ProperFraction
    """Share of each class that validates: chooses the best epoch."""

    test_fraction: ProperFraction
    """Share of each class that tests: never seen before evaluate."""

    seed: Seed
    """Another seed draws another split."""

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        held_out = self.val_fraction + self.test_fraction
        if held_out >= 1:
            raise ValueError(
                f"val_fraction and test_fraction add up to {held_out:g}; "
                "allowed: below 1, or nothing is left to train on"
            )
        return self
