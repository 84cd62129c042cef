"""Types that several schemas use for their fields."""

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict
from pydantic_core import PydanticKnownError

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
BatchCount = Annotated[int, Field(ge=1, le=2**20)]
Workers = Annotated[int, Field(ge=0, le=256)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _refuse_what_only_equals(value: object) -> object:
    if type(value) is not int:
        raise PydanticKnownError("int_type")
    return value


WholeNumber = BeforeValidator(_refuse_what_only_equals)
"""Belongs beside a Literal of whole numbers, which by itself takes true for 1 and 3.0 for 3."""


def _refuse_line_breaks(text: str) -> str:
    if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text):
        raise ValueError("allowed: text on one line, without control characters")
    return text


OneLine = AfterValidator(_refuse_line_breaks)
"""Belongs beside a text that messages quote."""
