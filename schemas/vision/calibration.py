"""How far a network's probabilities can be believed, measured on the validation split."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.shared.fields import Fraction, Items, Positive
from schemas.shared.schema import Schema


class Threshold(Schema):
    """A probability below which an answer is withheld, and what that does to the validation split."""

    probability: Fraction
    answered_fraction: Fraction
    """Share of the images whose most probable class has at least this probability."""

    accuracy: Fraction
    """Share of those that are answered correctly, when one more is taken to be answered wrongly."""


class Calibration(Schema):
    """What turns logits into probabilities, and probabilities into answers."""

    temperature: Positive
    """Logits are divided by it before the softmax."""

    thresholds: Annotated[Items[Threshold], Field(min_length=1)]
    """Lowest first; each is more accurate than those before it, for fewer answers."""

    @model_validator(mode="after")
    def _accuracy_rises(self) -> Self:
        for lower, higher in zip(self.thresholds, self.thresholds[1:], strict=False):
            if not (lower.probability < higher.probability and lower.accuracy < higher.accuracy):
                raise ValueError("thresholds do not rise in probability and accuracy")
        return self
