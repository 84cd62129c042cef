"""Which settings to try next, and which trials to end early: Optuna, and the file in which it keeps a search.

Hides Optuna. What it proposes is a function of the seed, the trial's number and the trials before: a search
that was killed goes on as if nothing had happened.
"""

import hashlib
import json
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from schemas.tune.tune import Distribution, IntRange, LogRange, Tune, UniformRange
from stages.shared.errors import InputError, describe_error
from tools.tune.space import combine, count_settings, round_to
from tools.tune.trials import Trial

if TYPE_CHECKING:
    import optuna

_NUMBER, _SEED, _EXPERIMENT, _REASON, _SETTINGS = "number", "seed", "experiment", "reason", "settings"
_MAX_COUNTED = 10_000
"""A larger grid is sampled, not listed."""

_ALIKE_UNTIL_RANDOM, _ALIKE_UNTIL_END = 20, 200
"""Proposals in a row that were tried before."""


def find_direction(metric: str) -> Literal["minimize", "maximize"]:
    """Return whether a metric is minimized or maximized."""
    return "minimize" if metric == "val.loss" else "maximize"


class Proposal:
    """Settings that are being tried."""

    def __init__(
        self, trial: "optuna.Trial", number: int, settings: dict[str, Any], reported: Iterable[int] = ()
    ) -> None:
        self.number = number
        self.settings = settings
        self._trial = trial
        self._reported = set(reported)

    def add_epoch(self, epoch: int, value: float) -> bool:
        """Note the metric after an epoch, counted from 1; return whether the trial had better end."""
        if epoch not in self._reported:
            self._trial.report(value, epoch)
            self._reported.add(epoch)
        return self._trial.should_prune()

    def finish(self, value: float | None, *, experiment: str | None = None, reason: str = "") -> None:
        """Note how it ended.

        Args:
            value: Of the metric; None where it failed or was pruned.
            experiment: The name of its DVC experiment.
            reason: Of a failure.
        """
        from optuna.trial import TrialState

        self._trial.set_user_attr(_EXPERIMENT, experiment)
        self._trial.set_user_attr(_REASON, reason)
        state = TrialState.COMPLETE if value is not None else TrialState.FAIL
        if value is None and not reason:
            state = TrialState.PRUNED
        self._trial.study.tell(self._trial, value, state=state)


class Proposals:
    """The trials of one search, kept in a file. Use `open_proposals`."""

    def __init__(self, study: "optuna.Study", path: Path, tune: Tune, *, seed: int, max_epochs: int) -> None:
        self.path = path
        self._study, self._tune, self._seed = study, tune, seed
        self._study.pruner = _build_pruner(tune, max_epochs)
        self._distributions = {key: _translate(each) for key, each in tune.space.items()}
        num_settings = count_settings(tune.space)
        self.num_trials = min(tune.trials, num_settings or tune.trials)
        """As many as there are different settings, or as were asked for."""

        self._grid = _list_grid(tune, num_settings) if tune.sampler == "grid" else None

    def list_trials(self) -> list[Trial]:
        """Return the trials that ended, by number."""
        from optuna.trial import TrialState

        states = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        ended = []
        for frozen in self._study.get_trials(deepcopy=False, states=tuple(states)):
            if _NUMBER not in frozen.user_attrs:
                continue  # settings that were tried before, or a trial that was killed as it began
            curve = tuple(frozen.intermediate_values[epoch] for epoch in sorted(frozen.intermediate_values))
            value = frozen.value if frozen.state == TrialState.COMPLETE else None
            if frozen.state == TrialState.PRUNED:
                value = min(curve) if find_direction(self._tune.metric) == "minimize" else max(curve)
            ended.append(
                Trial(
                    number=frozen.user_attrs[_NUMBER],
                    experiment=frozen.user_attrs[_EXPERIMENT],
                    settings=frozen.user_attrs[_SETTINGS],
                    seed=self._seed,
                    state=states[frozen.state],  # type: ignore[arg-type] # of the three above
                    value=value,
                    curve=curve,
                    reason=frozen.user_attrs[_REASON],
                )
            )
        return sorted(ended, key=lambda trial: trial.number)

    def propose(self) -> Iterator[Proposal]:
        """Yield those that were not finished, then new ones, each when it is asked for."""
        from optuna.trial import Trial as OptunaTrial
        from optuna.trial import TrialState

        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = OptunaTrial(self._study, frozen._trial_id)
            if _NUMBER in frozen.user_attrs:
                number, settings = frozen.user_attrs[_NUMBER], frozen.user_attrs[_SETTINGS]
                yield Proposal(trial, number, settings, frozen.intermediate_values)
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        while (proposal := self._propose_one()) is not None:
            yield proposal

    def read_note(self, name: str) -> Any:
        """Return what was noted beside the trials; None if nothing was."""
        return self._study.user_attrs.get(name)

    def write_note(self, name: str, value: Any) -> None:
        """Note what JSON can hold beside the trials."""
        self._study.set_user_attr(name, value)

    def _propose_one(self) -> Proposal | None:
        """Return settings that were not tried before; None if there are enough trials, or no others."""
        from optuna.trial import TrialState

        known = {
            _write(frozen.user_attrs[_SETTINGS]): frozen
            for frozen in self._study.get_trials(deepcopy=False)
            if _NUMBER in frozen.user_attrs
        }
        number = len(known)
        if number >= self.num_trials:
            return None
        for attempt in range(_ALIKE_UNTIL_END):
            trial = self._ask(number, attempt)
            settings = {
                key: round_to(each, _read(each, trial.params[key])) for key, each in self._tune.space.items()
            }
            if (before := known.get(_write(settings))) is None:
                trial.set_user_attr(_SETTINGS, settings)
                trial.set_user_attr(_NUMBER, number)
                return Proposal(trial, number, settings)
            # The sampler learns that they are no better this time; nothing runs.
            if before.state == TrialState.COMPLETE:
                self._study.tell(trial, before.value)
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        return None

    def _ask(self, number: int, attempt: int) -> "optuna.Trial":
        """Return a trial of Optuna's with settings."""
        if self._grid is not None:
            chosen = self._grid[(number + attempt) % len(self._grid)]
            self._study.enqueue_trial({key: _name(self._tune.space[key], chosen[key]) for key in chosen})
        is_stuck = attempt >= _ALIKE_UNTIL_RANDOM
        sampler = "random" if is_stuck or self._tune.sampler == "grid" else self._tune.sampler
        # A new one each time, for its random numbers would depend on how often the search was stopped.
        self._study.sampler = _build_sampler(sampler, seed=_mix(self._tune.seed, number, attempt))
        return self._study.ask(self._distributions)


@contextmanager
def open_proposals(path: Path, tune: Tune, *, seed: int, max_epochs: int) -> Iterator[Proposals]:
    """Yield the search that a file keeps, or a new one.

    Args:
        path: An SQLite file, created if missing.
        tune: The section of params.yaml.
        seed: The training.seed of all trials.
        max_epochs: Of the longest trial.

    Raises:
        InputError: Optuna is not installed, or the file is damaged.
    """
    try:
        import optuna
        from sqlalchemy.exc import DBAPIError
    except ImportError:
        raise InputError("tools.tune needs optuna, which is not installed; run: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            study = optuna.create_study(
                study_name="tune",
                storage=storage,
                direction=find_direction(tune.metric),
                load_if_exists=True,
            )
            yield Proposals(study, path, tune, seed=seed, max_epochs=max_epochs)
    except (DBAPIError, AssertionError, RuntimeError) as error:
        reason = describe_error(getattr(error, "orig", None) or error)
        raise InputError(
            f"{path}: the search that it keeps cannot be read or written ({reason}); if it is damaged, "
            "remove it: the search begins again, and DVC's run cache has the trials that ran"
        ) from None


def _build_sampler(name: str, *, seed: int) -> "optuna.samplers.BaseSampler":
    from optuna.samplers import RandomSampler, TPESampler

    return TPESampler(seed=seed) if name == "tpe" else RandomSampler(seed=seed)


def _build_pruner(tune: Tune, max_epochs: int) -> "optuna.pruners.BasePruner":
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if tune.pruner == "median":
        # Not in the first quarter, where a low rate that warms up, or an average, looks worse than it is.
        return MedianPruner(n_warmup_steps=max(2, max_epochs // 4))
    return HyperbandPruner(max_resource=max_epochs) if tune.pruner else NopPruner()


def _translate(distribution: Distribution) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, LogRange):
        return FloatDistribution(*distribution.log, log=True)
    if isinstance(distribution, UniformRange):
        return FloatDistribution(*distribution.uniform)
    if isinstance(distribution, IntRange):
        return IntDistribution(*distribution.int)
    return CategoricalDistribution([_write(value) for value in distribution])


def _name(distribution: Distribution, value: Any) -> Any:
    """Return what Optuna calls a value: choices are JSON to it, for it knows no lists."""
    return _write(value) if isinstance(distribution, tuple) else value


def _read(distribution: Distribution, named: Any) -> Any:
    return json.loads(named) if isinstance(distribution, tuple) else named


def _list_grid(tune: Tune, num_settings: int | None) -> Sequence[Mapping[str, Any]]:
    """Return all settings in random order, so that the first of them are no corner of the space."""
    assert num_settings is not None, "read_space refuses ranges of real numbers"
    if num_settings > _MAX_COUNTED:
        raise InputError(
            f"tune.space: holds {num_settings:,} settings; allowed for tune.sampler: grid: at most "
            f"{_MAX_COUNTED:,}; name fewer values, or choose random"
        )
    grid = list(combine(tune.space))
    random.Random(tune.seed).shuffle(grid)
    return grid


def _mix(*numbers: int) -> int:
    """Return a seed for the random numbers of one proposal."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _write(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
