"""Types that several schemas use for their fields."""

from typing import Annotated, TypeVar

from pydantic import Field, Strict

_Item = TypeVar("_Item")

Items = Annotated[tuple[_Item, ...], Strict(False)]
"""A list in YAML or JSON, a tuple in Python; the items themselves stay strict."""

Pair = Annotated[tuple[_Item, _Item], Strict(False)]
"""A list of exactly two."""

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ProperFraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
