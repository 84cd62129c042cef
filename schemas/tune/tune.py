"""The `tune` section: what `python -m tools.tune` searches. No stage reads it."""

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

from schemas.shared.fields import Items, Meaning, OneLine, Pair, Positive, Schema, Seed

Metric = Literal["val.loss", "val.accuracy", "val.balanced_accuracy", "val.macro_f1"]


def _check_ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] >= ends[1]:
        raise ValueError("allowed: the lower end first, and two that differ")
    return ends


def _check_different(values: tuple[JsonValue, ...]) -> tuple[JsonValue, ...]:
    if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
        raise ValueError("allowed: each value once")
    return values


class LogRange(Schema):
    """Real numbers; every factor is as likely as the same factor elsewhere in the range."""

    log: Annotated[Pair[Positive], AfterValidator(_check_ascending)]
    """Both ends, above 0."""


class UniformRange(Schema):
    """Real numbers, all equally likely."""

    uniform: Annotated[Pair[float], AfterValidator(_check_ascending)]
    """Both ends."""


class IntRange(Schema):
    """Whole numbers, all equally likely."""

    int: Annotated[Pair[int], AfterValidator(_check_ascending)]
    """Both ends, included."""


AnyValue = Annotated[JsonValue, WithJsonSchema({})]

Choices = Annotated[Items[AnyValue], Field(min_length=2, max_length=1000), AfterValidator(_check_different)]
"""Values, in any order: numbers, text, null, or whole lists."""

Distribution = Choices | LogRange | UniformRange | IntRange
"""What a setting is drawn from."""

Space = dict[
    Annotated[str, Field(min_length=1, max_length=200), OneLine],
    Annotated[
        Distribution,
        Meaning(
            "a list of two or more different values, or {log: [low, high]}, {uniform: [low, high]} or "
            "{int: [low, high]}, with low below high"
        ),
    ],
]
"""By dotted key of params.yaml."""


class Tune(Schema):
    """A search for settings by experiments, judged on the validation split."""

    metric: Metric
    """Of the validation split, at the epoch that training.best_metric keeps. val.loss is by the loss that is
    trained with, and cannot compare losses."""

    trials: Annotated[int, Field(ge=1, le=100_000)]
    """How many different settings are tried."""

    sampler: Literal["tpe", "random", "grid"]
    """tpe: learns from the trials so far where good settings lie (Bergstra 2011); grid: every combination of
    a space of lists and whole numbers, in random order."""

    pruner: Literal["median", "hyperband"] | None
    """Ends trials by their validation curve. median: those worse than half of the others were at that epoch;
    hyperband: those outside the best third at epochs 1, 3, 9 and so on (Li 2018). null: none."""

    seed: Seed
    """Another seed proposes other settings."""

    confirm_seeds: Annotated[int, Field(ge=0, le=1000)]
    """The best 3 trials and the committed parameters are run again on so many fresh seeds, for the best of
    many is partly the luckiest; 0: not at all."""

    space: Annotated[Space, Field(min_length=1)]
    """What is searched: dotted keys of this file, each with the values it may take."""
