"""How much each setting matters to the tuned metric, and whether the trials are enough to tell."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tools.tune.axes import Axis, find_sign
from tools.tune.trials import Search, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

MIN_TRIALS = 10
"""Below, chance gives as much as any setting does (decision 063)."""

Values = NDArray[np.float64]

_BEST_FRACTION = 0.25
"""What importance is about: which settings lead to the best quarter of the trials."""

NUM_SHUFFLES = 19
"""Values above those of 19 shuffles come by chance in 1 of 20 searches at most: a permutation test at 5 %."""


@dataclass(frozen=True)
class Importance:
    """Of every setting, the most important first."""

    shares: Mapping[str, float]
    """By key; they sum to 1, whatever the trials say."""

    told: frozenset[str]
    """Settings that matter more than any did in the shuffles."""

    num_trials: int


def measure_importance(search: Search, axes: Mapping[str, Axis]) -> Importance | None:
    """Return the importance by PED-ANOVA, or None where there is too little to measure it by.

    It compares where the best quarter of the trials lies with where all lie, setting by setting; pruned
    trials count with the value they had. The same with the values shuffled says what chance gives.
    Source: Watanabe et al. 2023, arXiv:2304.10255, as Optuna has it.
    """
    trials = [trial for trial in search.trials if trial.confirms is None and trial.value is not None]
    values = find_sign(search) * np.array([trial.value for trial in trials], dtype=np.float64)
    if len(trials) < MIN_TRIALS or len(axes) < 2 or np.ptp(values) == 0:
        return None
    rng = np.random.default_rng(0)
    with _quiet():
        study = _build_study(axes, trials)
        found = _evaluate(study, axes, values)
        shuffled = [_evaluate(study, axes, rng.permutation(values)) for _ in range(NUM_SHUFFLES)]
    total, by_chance = sum(found.values()), max(max(each.values()) for each in shuffled)
    if total == 0:
        return None
    ordered = sorted(found, key=lambda key: -found[key])
    return Importance(
        shares={key: found[key] / total for key in ordered},
        told=frozenset(key for key in ordered if found[key] > by_chance),
        num_trials=len(trials),
    )


def _build_study(axes: Mapping[str, Axis], trials: Sequence[Trial]) -> "Study":
    """Return the trials as Optuna has them: a setting is its place from 0 to 1, or the number of a choice."""
    import optuna

    distributions: dict[str, BaseDistribution] = {}
    for key, axis in axes.items():
        if axis.choices:
            distributions[key] = optuna.distributions.CategoricalDistribution(range(len(axis.choices)))
        else:
            distributions[key] = optuna.distributions.FloatDistribution(0.0, 1.0)
    study = optuna.create_study()
    for trial in trials:
        params = {key: axis.encode(trial.settings[key]) for key, axis in axes.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=0.0))
    return study


def _evaluate(study: "Study", axes: Mapping[str, Axis], values: Values) -> dict[str, float]:
    """Return each setting's importance for these values, the lower the better; not yet a share."""
    from optuna.importance import PedAnovaImportanceEvaluator

    evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST_FRACTION)
    return evaluator.evaluate(study, params=list(axes), target=lambda trial: float(values[trial.number]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna neither announce studies nor warn of what is meant: targets of our own, few trials."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
