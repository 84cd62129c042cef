"""What a network runs on."""

from typing import Literal

from schemas.shared.fields import PositiveCount, Schema

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "float16"]


class Numerics(Schema):
    """Settings that change the last bits of a result, so that testing repeats what training did."""

    threads: PositiveCount
    precision: Precision
