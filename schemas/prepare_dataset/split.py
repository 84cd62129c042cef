"""The `split` section: which images train, which validate, which test."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.shared.fields import Count, OneLine, PositiveCount, ProperFraction, Schema, Seed


def _check_pattern(text: str) -> str:
    if text == "none":  # how it was written before; as a pattern it would look for that word
        raise ValueError("allowed: null, column, or a regular expression")
    try:
        re.compile(text)
    # The last two come of a{99999999999} and of thousands of brackets.
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"allowed: null, column, or a regular expression; this one is invalid: {error}"
        ) from None
    return text


Pattern = Annotated[str, Field(min_length=1), OneLine, AfterValidator(_check_pattern)]


class Split(Schema):
    """Shares of each class that are held out of training.

    A split folder in the source takes precedence: only the splits that have no folder of their own are taken
    from the training images. Images of one group, copies of a file and near duplicates stay together.
    """

    val_fraction: ProperFraction
    """Share of each class that validates: chooses the best epoch."""

    test_fraction: ProperFraction
    """Share of each class that tests: never seen before evaluate. Not used with folds."""

    seed: Seed
    """Another seed gives another split."""

    group: Literal["column"] | Pattern | None
    """A regular expression, searched for in each path below the source: images where it finds the same text
    (that of its parentheses, if it has some) stay together, whatever their class. column: those that have the
    same in the column group of dataset.labels do."""

    near_duplicate_bits: Literal["auto"] | Annotated[int, Field(ge=0, le=8)] | None
    """Images that look alike stay together: those whose perceptual hashes differ in at most so many bits.
    auto: 8, which suits photographs, but 2 where that would chain more than half of a class together, as it
    does with digits and other drawings."""

    near_duplicates_turned: bool
    """Whether an image also looks like one that is mirrored or turned by 90, 180 or 270 degrees: not where
    that makes another class of it, as of a 6."""

    leaks: Literal["ignore", "warn", "exclude", "error"]
    """What to do with images that belong together but are in different split folders of the source; exclude
    leaves them out of the split further from the test: of train before val, of val before test."""

    folds: PositiveCount
    """Number of parts for cross-validation, each of which tests once; 1: no cross-validation, test_fraction
    applies. Where the source has a test folder, each part validates once instead."""

    fold: Count
    """Which part is held out, counted from 0."""

    @model_validator(mode="after")
    def _leave_images_to_train_on(self) -> Self:
        held_out = self.val_fraction + self.test_fraction
        if held_out >= 1:
            raise ValueError(
                f"val_fraction and test_fraction add up to {held_out:g}; "
                "allowed: below 1, or nothing is left to train on"
            )
        return self

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}; allowed: below folds, which is {self.folds}")
        held_out = self.val_fraction + 1 / self.folds
        if self.folds > 1 and held_out >= 1:
            raise ValueError(
                f"val_fraction and one of {self.folds} folds add up to {held_out:g}; "
                "allowed: below 1, or nothing is left to train on"
            )
        return self
