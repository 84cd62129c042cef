"""The search: the committed parameters, the trials, and the best of them again on fresh seeds."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from schemas.params import Params
from stages.pages.wording import plural
from stages.params.document import Document, format_problems
from stages.shared.errors import InputError
from stages.shared.progress import clock
from tools.tune.confirmation import confirm, describe
from tools.tune.copies import Outcome, Run
from tools.tune.proposals import Proposal, Proposals, find_direction
from tools.tune.space import PARAMS, Settings, check_settings, find_value, list_values, write_overrides
from tools.tune.trials import Search, Trial

COMMITTED = -1
"""Number of the committed parameters, which nobody proposed."""

NUM_CONFIRMED = 3
NUM_EPOCHS = "training.num_epochs"
_SECONDS_BETWEEN_LOOKS = 0.2


class Running(Protocol):
    """A run that has begun; see `tools.tune.copies.RunningTrial`."""

    def read_curve(self) -> tuple[float, ...]: ...
    def poll(self) -> Outcome | None: ...
    def request_stop(self) -> None: ...
    def close(self, *, keep: bool = False) -> None: ...


class Runner(Protocol):
    """What runs trials; see `tools.tune.copies.Copies`."""

    def start(self, run: Run) -> Running: ...


class Work(Protocol):
    """A run, and what becomes of its results."""

    run: Run

    def add_epoch(self, epoch: int, value: float) -> bool:
        """Note the metric after an epoch, counted from 1; return whether the run had better end."""

    def finish(self, outcome: Outcome | None) -> None:
        """Note how it ended; None if it was ended early."""


@dataclass
class Task:
    """A search, and what it is run with."""

    params: Params
    document: Document
    name: str
    """A hash of what is searched, which experiments are named after."""

    proposals: Proposals
    runner: Runner
    num_jobs: int = 1
    say: Callable[[str], None] = print
    started: float = field(default_factory=time.monotonic)
    num_run: int = 0

    @property
    def committed(self) -> Settings:
        """Return what the committed parameters are at the keys that are searched."""
        return {key: find_value(self.document, key) for key in self.params.tune.space}


def search(task: Task) -> Search:
    """Search, and confirm what was found.

    Raises:
        InputError: The committed parameters fail, or all trials do.
    """
    tune, seed = task.params.tune, task.params.training.seed
    first = _Noted(task, COMMITTED, task.committed, seed)
    work_off(first.unless_done(), task.runner, num_jobs=1)
    committed = first.trial
    if committed.value is None:
        raise InputError(f"the committed parameters fail: {committed.reason}")
    task.say(f"the committed parameters reach {tune.metric} {committed.value:.4g}")

    num_before = len(task.proposals.list_trials())
    if num_before:
        task.say(f"goes on after {num_before} trials")
    work_off(_propose(task), task.runner, num_jobs=task.num_jobs)
    trials = task.proposals.list_trials()
    if len(trials) < tune.trials:
        task.say(f"tune.space holds no more than {len(trials)} different settings")
    if not any(trial.state == "finished" for trial in trials):
        raise InputError(
            f"all {len(trials)} trials failed, the first one by: {trials[0].reason}\n"
            f"when that is mended, remove {task.proposals.path} to try them again"
        )

    found = Search(
        metric=tune.metric,
        direction=find_direction(tune.metric),
        space=tune.space,
        trials=tuple(trials),
        baseline=committed.value,
        committed=(committed,),
    )
    return confirm_best(task, found)


def confirm_best(task: Task, found: Search) -> Search:
    """Return a search with its best trials run again on fresh seeds, and a verdict."""
    best = rank(found)[:NUM_CONFIRMED]
    seeds = [task.params.training.seed + number for number in range(1, task.params.tune.confirm_seeds + 1)]
    if not seeds:
        verdict = f"not confirmed, for tune.confirm_seeds is 0 ({describe_lead(found, best[0])})"
        return replace(found, winner=best[0].number, verdict=verdict)
    numbers = ", ".join(str(trial.number) for trial in best)
    task.say(f"runs trials {numbers} on {plural(len(seeds), 'fresh seed')}")
    candidates = {COMMITTED: task.committed, **{trial.number: trial.settings for trial in best}}
    again = [
        _Noted(task, number, settings, seed) for seed in seeds for number, settings in candidates.items()
    ]
    work_off((work for each in again for work in each.unless_done()), task.runner, num_jobs=task.num_jobs)
    ended = [each.trial for each in again]
    numbered = len(found.trials)
    repeats = [trial for trial in ended if trial.confirms != COMMITTED]
    found = replace(
        found,
        trials=(*found.trials, *(replace(trial, number=numbered + at) for at, trial in enumerate(repeats))),
        committed=(*found.committed, *(trial for trial in ended if trial.confirms == COMMITTED)),
    )
    values = {
        number: [trial.value for trial in ended if trial.confirms == number and trial.value is not None]
        for number in candidates
    }
    whole = {number: each for number, each in values.items() if len(each) == len(seeds)}
    if whole.keys() <= {COMMITTED} or COMMITTED not in whole:
        reason = next(trial.reason for trial in ended if trial.value is None)
        return replace(found, winner=best[0].number, verdict=f"not confirmed, for runs failed: {reason}")
    of_committed = whole.pop(COMMITTED)
    confirmation = confirm(whole, of_committed, direction=found.direction)
    verdict = describe(confirmation, found.metric, num_seeds=len(seeds))
    return replace(found, winner=confirmation.winner, verdict=verdict)


def find_max_epochs(params: Params) -> int:
    """Return how many epochs the longest trial may have."""
    distribution = params.tune.space.get(NUM_EPOCHS)
    searched: Sequence[int] | None = None if distribution is None else list_values(distribution)
    return max(searched or [params.training.num_epochs])


def rank(found: Search) -> list[Trial]:
    """Return the trials that finished, the best first."""
    sign = 1 if found.direction == "minimize" else -1
    finished = [trial for trial in found.trials if trial.state == "finished" and trial.confirms is None]
    return sorted(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def describe_lead(found: Search, trial: Trial) -> str:
    """Return a trial's value beside that of the committed parameters."""
    return f"{found.metric} {trial.value:.4g}, the committed parameters {found.baseline:.4g}"


def work_off(works: Iterable[Work], runner: Runner, *, num_jobs: int) -> None:
    """Run works, so many at a time; the next one is asked for when there is room for it.

    Whatever ends this, runs that have begun are asked to save what they have, and waited for.
    """
    waiting = iter(works)
    active: list[_Active] = []
    try:
        while True:
            while len(active) < num_jobs and (work := next(waiting, None)) is not None:
                active.append(_Active(work, runner.start(work.run)))
            if not active:
                return
            active = [each for each in active if not each.look()]
            time.sleep(_SECONDS_BETWEEN_LOOKS * bool(active))
    finally:
        for each in active:
            each.running.request_stop()
        for each in active:
            each.running.close()


@dataclass
class _Active:
    """A work that is running."""

    work: Work
    running: Running
    num_epochs: int = 0

    def look(self) -> bool:
        """Hand on what is new; return whether the run is over."""
        curve = self.running.read_curve()
        outcome = self.running.poll()
        if outcome is not None:
            curve = outcome.curve or curve
        # Whether a run is ended early depends on its curve, not on how fast we looked.
        for epoch in range(self.num_epochs + 1, len(curve) + 1):
            self.num_epochs = epoch
            if self.work.add_epoch(epoch, curve[epoch - 1]):
                self.running.close()
                self.work.finish(None)
                return True
        if outcome is not None:
            self.running.close(keep=outcome.value is not None)
            self.work.finish(outcome)
        return outcome is not None


class _Proposed:
    """A trial of the sampler's."""

    def __init__(self, task: Task, proposal: Proposal) -> None:
        self._task, self._proposal = task, proposal
        seed = task.params.training.seed
        self.run = Run(f"tune-{task.name}-{proposal.number}", proposal.settings, seed)

    def add_epoch(self, epoch: int, value: float) -> bool:
        """Note the metric; a run that has reached its last epoch is not ended early."""
        settings = self._proposal.settings
        num_epochs = settings.get(NUM_EPOCHS, self._task.params.training.num_epochs)
        return self._proposal.add_epoch(epoch, value) and epoch < num_epochs

    def finish(self, outcome: Outcome | None) -> None:
        """Note how it ended, and say so."""
        outcome = outcome or Outcome()
        name = self.run.name if outcome.value is not None else None
        self._proposal.finish(outcome.value, experiment=name, reason=outcome.reason)
        self._task.num_run += 1
        self._task.say(self._describe())

    def _describe(self) -> str:
        task, metric = self._task, self._task.params.tune.metric
        trials = task.proposals.list_trials()
        trial = next(each for each in trials if each.number == self._proposal.number)
        how = {
            "finished": f"{metric} {trial.value:.4g}" if trial.value is not None else "",
            "pruned": f"ended early, after epoch {len(trial.curve)}",
            "failed": f"failed: {trial.reason}",
        }[trial.state]
        sign = 1 if find_direction(metric) == "minimize" else -1
        finished = [each for each in trials if each.state == "finished"]
        values = [(sign * each.value, each.number) for each in finished if each.value is not None]
        best = f"; best: {sign * min(values)[0]:.4g} (trial {min(values)[1]})" if values else ""
        num_left = task.proposals.num_trials - len(trials)
        seconds = (time.monotonic() - task.started) / task.num_run * num_left
        left = f"; {clock(seconds)} left" if num_left > 0 else ""
        return f"trial {trial.number}: {' '.join(write_overrides(trial.settings))}: {how}{best}{left}"


class _Noted:
    """A run that no sampler proposed; its result is noted beside the trials."""

    def __init__(self, task: Task, confirms: int, settings: Settings, seed: int) -> None:
        self._task, self._confirms, self._settings, self._seed = task, confirms, settings, seed
        self._outcome = Outcome()
        number = "committed" if confirms == COMMITTED else confirms
        self.run = Run(f"tune-{task.name}-{number}-seed{seed}", settings, seed)

    def unless_done(self) -> Iterator["_Noted"]:
        """Yield itself, if it has not run yet."""
        if self._task.proposals.read_note(self.run.name) is None:
            yield self

    def add_epoch(self, epoch: int, value: float) -> bool:
        """Run to the end."""
        return False

    def finish(self, outcome: Outcome | None) -> None:
        """Note the result, and say it."""
        assert outcome is not None, "it is never ended early"
        self._outcome = outcome
        if outcome.value is not None:  # one that failed is tried again
            self._task.proposals.write_note(self.run.name, [outcome.value, outcome.curve])
        name = "committed parameters" if self._confirms == COMMITTED else f"trial {self._confirms}"
        said = f"failed: {outcome.reason}" if outcome.value is None else f"{outcome.value:.4g}"
        self._task.say(f"{name}, seed {self._seed}: {said}")

    @property
    def trial(self) -> Trial:
        """Return what was noted; its number is the committed parameters'."""
        value, curve = self._task.proposals.read_note(self.run.name) or (None, self._outcome.curve)
        is_first = self._confirms == COMMITTED and self._seed == self._task.params.training.seed
        return Trial(
            number=COMMITTED,
            experiment=None if value is None else self.run.name,
            settings=dict(self._settings),
            seed=self._seed,
            state="failed" if value is None else "finished",
            value=value,
            curve=tuple(curve),
            reason=self._outcome.reason,
            confirms=None if is_first else self._confirms,
        )


def _propose(task: Task) -> Iterator[_Proposed]:
    """Yield the trials to run; those that the schemas refuse, which they may together, have failed."""
    for proposal in task.proposals.propose():
        work = _Proposed(task, proposal)
        if problems := check_settings(task.document, proposal.settings):
            work.finish(Outcome(reason=format_problems(PARAMS, problems[:1])))
        else:
            yield work
