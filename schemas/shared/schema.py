"""The base of every schema."""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """A record that accepts exactly its own keys, with values of exactly the right type.

    Unknown keys are refused, nothing is converted ("1" is no number, true is no 1), numbers are finite,
    and a record never changes once it is made.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )
