"""Small results, as a revision holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tools.compare.results import Result


def make_result(
    predicted: Sequence[int],
    labels: Sequence[int],
    *,
    revision: str = "main",
    images: Sequence[str] = (),
    groups: Sequence[str] = (),
    classes: tuple[str, ...] = ("cat", "dog"),
    parameters: Mapping[str, Any] | None = None,
) -> Result:
    """Return a result whose predictions have a probability of 0.8."""
    names = list(images) or [f"image{number}" for number in range(len(labels))]
    rest = 0.2 / (len(classes) - 1)
    probabilities = np.full((len(labels), len(classes)), rest)
    probabilities[np.arange(len(labels)), predicted] = 0.8
    return Result(
        revision=revision,
        classes=classes,
        keys=[(name, 0) for name in names],
        paths=[f"{name}.png" for name in names],
        groups=list(groups) or [""] * len(names),
        labels=np.array(labels),
        predicted=np.array(predicted),
        probabilities=probabilities,
        parameters=parameters or {"training.seed": 0},
        history=(),
        prepared_md5="0.dir",
    )
