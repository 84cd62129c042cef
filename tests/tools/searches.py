"""Searches of a made-up function, for the tests of what tools.tune shows."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from schemas.tune.tune import Distribution, LogRange, Space, UniformRange
from tools.tune.trials import Search, Trial

SPACE = {
    "optimizer.lr": {"log": [0.0001, 0.1]},
    "optimizer.name": ["adamw", "sgd", "muon"],
    "training.ema_decay": [None, 0.999],
    "optimizer.adamw.nesterov": [True, False],
    "loader.batch_size": {"int": [16, 256]},
    "network.cnn.dropout": {"uniform": [0.0, 0.5]},
    "network.cnn.channels": [[16, 32, 64], [32, 64, 128]],
}
HOSTILE = "<script>document.title = 'taken over'</script>"

State = Literal["finished", "pruned", "failed"]


def read_space(space: Mapping[str, object]) -> Space:
    """Return a space as params.yaml has it."""
    return TypeAdapter(Space).validate_python(space)


def make_search(
    num_trials: int = 24,
    *,
    space: Mapping[str, object] = SPACE,
    metric: str = "val.loss",
    states: tuple[State, ...] = ("finished", "finished", "pruned"),
    num_seeds: int = 3,
    baseline: float | None = 0.12,
    constant: bool = False,
    reason: str = "the loss is not finite in epoch 2",
) -> Search:
    """Return trials of random settings, whose value depends on the learning rate alone, with a little noise.

    Args:
        num_trials: Before the repeats.
        space: As in params.yaml.
        metric: A loss, or a fraction of 1 minus it.
        states: Of the trials, over and over.
        num_seeds: Fresh seeds of the best three.
        baseline: Of the parameters as they are.
        constant: Whether all values are the same.
        reason: Of every failure.
    """
    rng = np.random.default_rng(0)
    distributions = read_space(space)
    is_loss = metric == "val.loss"
    trials = []
    for number in range(num_trials):
        settings = {key: _draw(rng, distribution) for key, distribution in distributions.items()}
        loss = 0.1 if constant else _measure(settings, rng)
        state = states[number % len(states)]
        trials.append(
            Trial(
                number=number,
                experiment=None if state == "failed" else f"tune-{number:03}",
                settings=settings,
                seed=0,
                state=state,
                value=None if state == "failed" else loss if is_loss else 1 - loss,
                curve=()
                if state == "failed"
                else _draw_curve(loss, 10 if state == "finished" else 3, is_loss),
                reason=reason if state == "failed" else "",
            )
        )
    finished = [trial for trial in trials if trial.state == "finished"]
    finished.sort(key=lambda trial: (trial.value or 0.0) * (1 if is_loss else -1))
    best, seeds = finished[:3] if num_seeds else [], range(1, num_seeds + 1)
    for trial in best:
        for seed in seeds:
            value = (trial.value or 0.0) + (0.002 if is_loss else -0.002) * seed
            name = f"tune-{trial.number:03}-seed{seed}"
            trials.append(
                Trial(len(trials), name, trial.settings, seed, "finished", value, (value,), "", trial.number)
            )
    first = Trial(
        -1, "tune-committed", dict(trials[0].settings) if trials else {}, 0, "finished", baseline, ()
    )
    return Search(
        metric,
        "minimize" if is_loss else "maximize",
        distributions,
        tuple(trials),
        baseline,
        () if baseline is None else (first, *(replace(first, seed=seed, confirms=-1) for seed in seeds)),
        finished[0].number if finished else None,
        "better than the committed parameters by 0.03 on 3 fresh seeds" if best else "not confirmed",
    )


def _draw(rng: np.random.Generator, distribution: Distribution) -> Any:
    if isinstance(distribution, tuple):
        return distribution[rng.integers(len(distribution))]
    if isinstance(distribution, LogRange):
        start, end = map(math.log, distribution.log)
        return math.exp(rng.uniform(start, end))
    if isinstance(distribution, UniformRange):
        return float(rng.uniform(*distribution.uniform))
    low, high = distribution.int
    return int(rng.integers(low, high, endpoint=True))


def _measure(settings: Mapping[str, Any], rng: np.random.Generator) -> float:
    lr = next((value for value in settings.values() if isinstance(value, float)), 0.003)
    far = 2.0 if lr > 0.06 else 0.0
    return float(0.08 + far + 0.06 * (math.log10(max(lr, 1e-6)) + 2.5) ** 2 + 0.004 * rng.random())


def _draw_curve(loss: float, num_epochs: int, is_loss: bool) -> tuple[float, ...]:
    losses = [loss * (1 + 3 * math.exp(-epoch)) for epoch in range(1, num_epochs)] + [loss]
    return tuple(value if is_loss else max(0.0, 1 - value) for value in losses)
