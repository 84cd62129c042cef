"""What is said of an image: its most probable classes, and whether that is accepted. Without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.export.rule import Rule
from stages.shared.errors import InputError
from tools.predict.model import Model
from tools.predict.reading import ReadFile


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """A class, and how probable it is."""

    predicted: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network says of one image."""

    path: str
    """Of the file; empty for an image that is not in one."""

    label: str | None = None
    """The true class, empty if it is not known; None if it was not asked for."""

    top: Sequence[ClassProbability] = ()
    """The most probable classes, the most probable first; none for an image that cannot be read."""

    accepted: bool | None = None
    """Whether the prediction is sure enough; None if no accuracy is promised."""

    reason: str = ""
    """Why it is not accepted; empty otherwise."""

    error: str = ""
    """Why there is no prediction; empty if there is one."""

    prediction_set: Sequence[str] | None = None
    """Classes of which one is the true one as often as asked for; None where there is no such set."""

    @property
    def predicted(self) -> str:
        """Return the most probable class; empty for an image that cannot be read."""
        return self.top[0].predicted if self.top else ""

    @property
    def probability(self) -> float | None:
        """Return the probability of the most probable class."""
        return self.top[0].probability if self.top else None


def check_share(name: str, value: float, *, with_ends: bool) -> None:
    """Check that an argument is a share.

    Raises:
        InputError: It is not from 0 to 1 or, without the ends, between them.
    """
    if not math.isfinite(value) or not (0 <= value <= 1 if with_ends else 0 < value < 1):
        allowed = "a number from 0 to 1" if with_ends else "a number between 0 and 1"
        raise InputError(f"{name}: found {value:g}; allowed: {allowed}")


def rank_classes(
    probabilities: NDArray[np.float64], classes: Sequence[str], *, top_k: int, rule: Rule
) -> list[Prediction]:
    """Return a prediction, without its path, for each row of probabilities (N, num_classes).

    Args:
        probabilities: Rows add up to 1.
        classes: Their names.
        top_k: How many classes to list, the most probable first; of equals the first.
        rule: What is accepted.
    """
    predictions = []
    orders = np.argsort(-probabilities, axis=1, kind="stable")
    for order, row in zip(orders, np.take_along_axis(probabilities, orders, axis=1), strict=True):
        top = [ClassProbability(classes[at], float(row[rank])) for rank, at in enumerate(order[:top_k])]
        accepted = None if rule.threshold is None else top[0].probability >= rule.threshold
        prediction_set = None
        if rule.set_threshold is not None:
            # Never empty: where none is probable enough, the most probable.
            num_classes = max(1, int((row >= rule.set_threshold).sum()))
            prediction_set = [classes[at] for at in order[:num_classes]]
        predictions.append(
            Prediction(
                path="",
                top=top,
                accepted=accepted,
                reason="" if accepted else rule.why_not,
                prediction_set=prediction_set,
            )
        )
    return predictions


def predict_batch(
    model: Model,
    files: Sequence[ReadFile],
    classes: Sequence[str],
    *,
    top_k: int,
    rule: Rule,
    with_embeddings: bool = False,
) -> tuple[list[Prediction], NDArray[np.float32] | None]:
    """Return a prediction for every file, in order, also for those that have no pixels.

    Args:
        model: What computes.
        files: As they were read.
        classes: The model's.
        top_k: How many of them to list.
        rule: What is accepted.
        with_embeddings: Whether to return those, too, of the files that have pixels.
    """
    images = [file.pixels for file in files if file.pixels is not None]
    outputs = model.compute(images, with_embeddings=with_embeddings) if images else None
    ranked = iter(rank_classes(outputs.probabilities, classes, top_k=top_k, rule=rule) if outputs else ())
    predictions = [
        Prediction(file.name, error=file.reason)
        if file.pixels is None
        else replace(next(ranked), path=file.name)
        for file in files
    ]
    return predictions, outputs.embeddings if outputs else None
