"""One line of data/audit/findings.csv: something an image or a class is conspicuous for."""

from typing import Literal

from schemas.shared.fields import Schema

ImageKind = Literal[
    "conflicting_labels",
    "blank",
    "dark",
    "bright",
    "low_information",
    "blurred",
    "extreme_size",
    "extreme_shape",
    "copies",
    "near_duplicates",
]
LeakKind = Literal["leaks"]
"""Decided by split.leaks, where all others have a policy in `audit`."""

ClassKind = Literal["tiny_class", "imbalance"]


class FindingRow(Schema):
    """A finding; of each kind the worst come first."""

    kind: ImageKind | LeakKind | ClassKind

    path: str
    """Path inside the source; empty for a class."""

    label: str
    """Class name."""

    detail: str
    """What was found."""

    became: Literal["used", "left_out"]
