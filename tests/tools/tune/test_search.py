"""The search, with a runner that computes a made-up loss instead of training."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from schemas.__main__ import format_yaml
from stages.shared.errors import InputError
from tests.params.wrong_params import good_params
from tools.tune.copies import Outcome, Run
from tools.tune.proposals import open_proposals
from tools.tune.search import Task, find_max_epochs, search, work_off
from tools.tune.space import read_space
from tools.tune.trials import Search, write_trials

NUM_EPOCHS = 4
SPACE = {"optimizer.lr": {"log": [0.0001, 0.1]}, "optimizer.name": ["adamw", "sgd"]}


class Killed(BaseException):
    """What kill -9 is to the search: nothing of it runs any more."""


def compute_loss(run: Run) -> float:
    """Return a loss that is best at lr 0.01, a little worse with SGD, and differs between seeds."""
    is_sgd = run.settings.get("optimizer.name") == "sgd"
    lr = run.settings.get("optimizer.lr", 0.003)
    return abs(math.log10(lr) + 2) + 0.1 * is_sgd + 0.01 * run.seed


@dataclass
class Made:
    """A run: an epoch is over each time that one looks."""

    run: Run
    runner: "MadeUp"
    num_epochs: int = 0
    is_closed: bool = False

    def read_curve(self) -> tuple[float, ...]:
        self.num_epochs = min(self.num_epochs + 1, NUM_EPOCHS)
        return self._curve[: self.num_epochs]

    @property
    def _curve(self) -> tuple[float, ...]:
        return tuple(self.runner.compute(self.run) + 1 / epoch for epoch in range(1, NUM_EPOCHS + 1))

    def poll(self) -> Outcome | None:
        if self.run.name == self.runner.killed_in and self.num_epochs == 2:
            raise Killed
        if self.run.settings.get("optimizer.name") == self.runner.failing:
            return Outcome(reason="train: the loss became NaN")
        return Outcome(self._curve[-1], self._curve) if self.num_epochs == NUM_EPOCHS else None

    def request_stop(self) -> None:
        self.runner.num_asked_to_stop += not self.is_closed

    def close(self, *, keep: bool = False) -> None:
        self.is_closed = True
        self.runner.kept += [self.run.name] * keep


@dataclass
class MadeUp:
    """Runs nothing."""

    compute: Callable[[Run], float] = compute_loss
    killed_in: str = ""
    failing: str = ""
    started: list[Run] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    num_asked_to_stop: int = 0

    def start(self, run: Run) -> Made:
        self.started.append(run)
        return Made(run, self)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.tune.search._SECONDS_BETWEEN_LOOKS", 0)


@contextmanager
def open_task(folder: Path, runner: MadeUp, *, num_jobs: int = 1, **tune: Any) -> Iterator[Task]:
    data = good_params()
    data["training"] |= {"num_epochs": NUM_EPOCHS, "seed": 0}
    data["lr_scheduler"]["warmup_epochs"] = 1
    data["tune"] |= {"trials": 9, "space": SPACE, "confirm_seeds": 2, "seed": 0, **tune}
    path = folder / "params.yaml"
    path.write_text(format_yaml(data), encoding="utf-8")
    params, document = read_space(str(path))
    with open_proposals(
        folder / "trials.sqlite", params.tune, seed=0, max_epochs=find_max_epochs(params)
    ) as proposals:
        yield Task(params, document, "abc", proposals, runner, num_jobs=num_jobs, say=lambda line: None)


def run(folder: Path, runner: MadeUp, **options: Any) -> Search:
    folder.mkdir(exist_ok=True)
    with open_task(folder, runner, **options) as task:
        return search(task)


def table(folder: Path, found: Search) -> bytes:
    write_trials(folder / "trials.csv", found)
    return (folder / "trials.csv").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, MadeUp, bytes]:
    """A search that ran in one go."""
    folder = tmp_path_factory.mktemp("unbroken")
    runner = MadeUp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.tune.search._SECONDS_BETWEEN_LOOKS", 0)
        found = run(folder, runner)
    return found, runner, table(folder, found)


def test_a_search(unbroken: tuple[Search, MadeUp, bytes]) -> None:
    """It tries different settings, ends hopeless ones early, and confirms the best on fresh seeds."""
    found, runner, text = unbroken
    tried = [trial for trial in found.trials if trial.confirms is None]
    assert [trial.number for trial in tried] == list(range(9))
    assert len({str(trial.settings) for trial in tried}) == 9
    pruned = [trial for trial in tried if trial.state == "pruned"]
    assert pruned
    assert all(2 <= len(trial.curve) < NUM_EPOCHS and trial.experiment is None for trial in pruned)
    finished = sorted(
        (trial for trial in tried if trial.state == "finished"), key=lambda trial: trial.value or 9
    )
    assert found.winner == finished[0].number
    assert found.verdict.startswith("better than the committed parameters by")
    repeats = [(trial.confirms, trial.seed) for trial in found.trials if trial.confirms is not None]
    assert sorted(repeats) == sorted((trial.number, seed) for trial in finished[:3] for seed in (1, 2))
    assert [(trial.seed, trial.confirms) for trial in found.committed] == [(0, None), (1, -1), (2, -1)]
    assert found.baseline == found.committed[0].value
    experiments = [trial.experiment for trial in (*found.committed, *found.trials) if trial.experiment]
    assert sorted(experiments) == sorted(runner.kept)
    assert text.count(b"\n") == 1 + len(found.trials) + len(found.committed)


@pytest.mark.parametrize("killed_in", ["committed-seed0", "7", "committed-seed2"])
def test_a_killed_search_goes_on(
    killed_in: str, unbroken: tuple[Search, MadeUp, bytes], tmp_path: Path
) -> None:
    """It runs what is left, the unfinished trial first, and ends with the same bytes."""
    killed = MadeUp(killed_in=f"tune-abc-{killed_in}")
    with pytest.raises(Killed):
        run(tmp_path, killed)
    again = MadeUp()
    assert table(tmp_path, run(tmp_path, again)) == unbroken[2]
    assert again.started[0] == killed.started[-1]
    assert len(killed.started) + len(again.started) == len(unbroken[1].started) + 1
    assert killed.num_asked_to_stop == 1


def test_more_trials_later(unbroken: tuple[Search, MadeUp, bytes], tmp_path: Path) -> None:
    """A search that ended goes on when tune.trials is raised; none runs twice."""
    run(tmp_path, MadeUp(), trials=5, confirm_seeds=0)
    again = MadeUp()
    assert table(tmp_path, run(tmp_path, again)) == unbroken[2]
    assert again.started[0].name == "tune-abc-5"


def test_equal_settings_run_once(tmp_path: Path) -> None:
    """A sampler that proposes the same again gets the same answer; the search ends with the space."""
    runner = MadeUp()
    space = {"optimizer.name": ["adamw", "sgd", "muon"]}
    found = run(tmp_path, runner, space=space, confirm_seeds=0, pruner=None)
    assert sorted(trial.settings["optimizer.name"] for trial in found.trials) == ["adamw", "muon", "sgd"]
    assert len(runner.started) == 4
    assert found.verdict.startswith("not confirmed, for tune.confirm_seeds is 0")


def test_a_grid_has_every_combination(tmp_path: Path) -> None:
    """Each once, whatever the number of trials."""
    space = {"optimizer.name": ["adamw", "sgd"], "loader.batch_size": {"int": [1, 3]}}
    found = run(tmp_path, MadeUp(), space=space, sampler="grid", confirm_seeds=0, pruner="hyperband")
    assert len({str(trial.settings) for trial in found.trials}) == len(found.trials) == 6


def test_two_at_a_time(tmp_path: Path) -> None:
    """They are all different, and confirmed alike."""
    runner = MadeUp()
    found = run(tmp_path, runner, num_jobs=2, trials=4)
    assert len({str(trial.settings) for trial in found.trials if trial.confirms is None}) == 4
    assert len(runner.started) == 1 + 4 + 2 * 4


def test_a_trial_that_fails(tmp_path: Path) -> None:
    """It is in the table with its reason; the others go on."""
    found = run(tmp_path, MadeUp(failing="sgd"), trials=6, confirm_seeds=0)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert {trial.reason for trial in failed} == {"train: the loss became NaN"}
    assert {trial.settings["optimizer.name"] for trial in failed} == {"sgd"}


def test_values_that_do_not_go_together(tmp_path: Path) -> None:
    """Each is allowed with the committed rest; together they are a failed trial that never starts."""
    runner = MadeUp()
    space = {"lr_scheduler.warmup_epochs": [0, 3], "training.num_epochs": [2, 4]}
    found = run(tmp_path, runner, space=space, sampler="grid", confirm_seeds=0)
    [failed] = [trial for trial in found.trials if trial.state == "failed"]
    assert failed.settings == {"lr_scheduler.warmup_epochs": 3, "training.num_epochs": 2}
    assert "lr_scheduler.warmup_epochs: found 3; allowed: at most training.num_epochs, 2" in failed.reason
    assert len(runner.started) == 4


def test_all_trials_fail(tmp_path: Path) -> None:
    """The first reason is told; so is that of the committed parameters, before anything else runs."""
    only_sgd = {"optimizer.name": ["sgd", "adam"]}
    with pytest.raises(InputError, match="all 1 trials failed, the first one by: train: the loss became NaN"):
        run(tmp_path / "a", MadeUp(failing="sgd"), trials=1, space=only_sgd, sampler="grid")
    runner = MadeUp(failing="adamw")
    with pytest.raises(InputError, match="the committed parameters fail: train: the loss became NaN"):
        run(tmp_path / "b", runner)
    assert len(runner.started) == 1


def test_no_winner_is_made_of_luck(tmp_path: Path) -> None:
    """Where settings do not matter, the best of them does not beat the committed parameters."""
    found = run(tmp_path, MadeUp(compute=lambda run: 0.5 + 0.1 * run.seed), trials=4, pruner=None)
    assert found.verdict.startswith("does not beat the committed parameters on 2 fresh seeds")


def test_a_damaged_file(tmp_path: Path) -> None:
    """One line names it and what to do."""
    (tmp_path / "trials.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(InputError, match=r"trials\.sqlite: the search .* remove it: the search begins again"):
        run(tmp_path, MadeUp())


def test_optuna_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match="pip install optuna"):
        run(tmp_path, MadeUp())


def test_runs_are_stopped_whatever_happens() -> None:
    """An error in one leaves no other behind."""

    class Broken(MadeUp):
        def start(self, run: Run) -> Made:
            if self.started:
                raise InputError("no disk")
            return super().start(run)

    @dataclass
    class Plain:
        run: Run

        def add_epoch(self, epoch: int, value: float) -> bool:
            return False

        def finish(self, outcome: Outcome | None) -> None:
            pass

    runner = Broken()
    with pytest.raises(InputError, match="no disk"):
        work_off([Plain(Run(name, {}, 0)) for name in "ab"], runner, num_jobs=2)
    assert runner.num_asked_to_stop == 1
