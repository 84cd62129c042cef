"""The `loss` section: what training minimises."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Items, Schema

LABELS_ONLY = frozenset({"focal"})
"""Losses that take one label an image, not the shares of several classes that MixUp and CutMix make."""

Weight = Annotated[float, Field(gt=0, le=1e6)]


class CrossEntropy(Schema):
    """Cross-entropy of the softmax."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    """Share of the target spread over all classes (arXiv:1512.00567)."""


class BinaryCrossEntropy(Schema):
    """Every class against the rest, by sigmoids (arXiv:2110.00476)."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    """Share of the target spread over all classes."""


class Focal(Schema):
    """Cross-entropy that fades out easy examples (arXiv:1708.02002)."""

    gamma: Annotated[float, Field(ge=0, le=100)]
    """How fast easy examples fade; 0 is plain cross-entropy."""


class Loss(Schema):
    """The loss and the parameters of every loss there is; `name` chooses."""

    name: Literal["cross_entropy", "binary_cross_entropy", "focal"]
    """Which loss is used; the block of that name holds what only it needs."""

    class_weights: Literal["balanced"] | Annotated[Items[Weight], Field(min_length=2)] | None
    """null; balanced (inverse to class frequency in training); or one weight a class, in their order."""

    cross_entropy: CrossEntropy
    binary_cross_entropy: BinaryCrossEntropy
    focal: Focal
