"""Are the best settings better than the committed ones? Both are run on the same fresh seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Confirmation:
    """What fresh seeds say of the best of some trials."""

    winner: int
    """Number of the trial whose mean is best."""

    word: Literal["better", "cannot tell", "not better"]
    mean: float
    committed_mean: float
    half_width: float | None
    """The winner's lead over the committed parameters is known to plus or minus this; None for one seed."""

    @property
    def lead(self) -> float:
        """Return by how much the winner's mean is better, in the metric's units; negative if it is worse."""
        return abs(self.mean - self.committed_mean) * (-1 if self.word == "not better" else 1)


def confirm(
    values: Mapping[int, Sequence[float]], committed: Sequence[float], *, direction: str
) -> Confirmation:
    """Judge the trials by their values on fresh seeds.

    The noise is what is left of the values when the means of each setting and of each seed are taken off,
    which assumes that it is alike for all of them: with three seeds, pairs alone would hardly ever tell. The
    winner is the best of several, so that the interval is Bonferroni's for as many comparisons.

    Args:
        values: Of each trial, one for each seed.
        committed: Of the committed parameters, on the same seeds.
        direction: minimize or maximize.
    """
    sign = -1.0 if direction == "minimize" else 1.0
    means = {number: float(np.mean(of_trial)) for number, of_trial in values.items()}
    winner = max(means, key=lambda number: (sign * means[number], -number))
    committed_mean = float(np.mean(committed))
    lead = sign * (means[winner] - committed_mean)

    table = np.array([committed, *values.values()])  # (settings, seeds)
    num_settings, num_seeds = table.shape
    half_width: float | None = None
    if num_seeds > 1:
        residuals = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        freedom = (num_settings - 1) * (num_seeds - 1)
        deviation = np.sqrt((residuals**2).sum() / freedom)
        quantile = stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2 / len(values))
        half_width = float(quantile * deviation * np.sqrt(2 / num_seeds))
    word: Literal["better", "cannot tell", "not better"] = "cannot tell"
    if lead <= 0:
        word = "not better"
    elif half_width is not None and lead > half_width:
        word = "better"
    return Confirmation(winner, word, means[winner], committed_mean, half_width)


def describe(confirmation: Confirmation, metric: str, *, num_seeds: int) -> str:
    """Return a verdict in words."""
    lead, half_width = confirmation.lead, confirmation.half_width
    means = f"mean {metric} {confirmation.mean:.4g} against {confirmation.committed_mean:.4g}"
    interval = ""
    if half_width is not None:
        interval = f", 95 % interval {lead - half_width:.2g} to {lead + half_width:.2g}"
    on_seeds = f"on {num_seeds} fresh seed{'s' * (num_seeds > 1)}"
    if confirmation.word == "better":
        return f"better than the committed parameters by {lead:.3g} {on_seeds} ({means}{interval})"
    if confirmation.word == "cannot tell":
        return (
            f"cannot tell whether it is better than the committed parameters {on_seeds} "
            f"({means}, ahead by {lead:.2g}{interval}); raise tune.confirm_seeds"
        )
    return f"does not beat the committed parameters {on_seeds} ({means})"
