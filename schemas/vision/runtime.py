"""What a network runs on."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Schema

Device = Literal["auto", "cpu", "cuda", "mps"]
Threads = Annotated[int, Field(ge=1, le=1024)]
Precision = Literal["float32", "bfloat16", "float16"]


class Numerics(Schema):
    """Settings that change the last bits of a result, so that testing repeats what training did."""

    threads: Threads
    precision: Precision
