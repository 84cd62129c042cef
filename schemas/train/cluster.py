"""The `cluster` section: on how many processes and machines a run trains, which changes no byte of it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.shared.fields import Meaning, Schema


def _check_power_of_two(number: int) -> int:
    if number & (number - 1):
        raise ValueError("allowed: a power of two")
    return number


class Cluster(Schema):
    """The processes of a training run. No stage depends on this section: it changes speed alone."""

    processes: Annotated[int, Field(ge=1, le=1024), AfterValidator(_check_power_of_two)]
    """A power of two that divides training.accumulation_steps: each computes as many parts of every batch."""

    address: (
        Annotated[
            str,
            Field(max_length=300, pattern=r"^(auto|[^\s/]+:[0-9]{1,5})$"),
            Meaning("null, auto or the host:port of a Ray cluster, to which this machine belongs"),
        ]
        | None
    )
    """null: this machine. auto: the Ray cluster that it belongs to, or that of RAY_ADDRESS."""
