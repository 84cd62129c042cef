"""The learning rate over time, step by step, against torch's schedules."""

import math
import re
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn, optim

from schemas.train.lr_scheduler import LrScheduler
from schemas.train.lr_scheduler import Plateau as PlateauParams
from schemas.vision.checkpoint import Scores
from stages.train.lr_scheduler import Plateau, build_factor, build_lr_scheduler, refresh_rates
from tests.vision.completeness import names_of, read_section, read_test

BLOCKS: dict[str, Any] = {
    "step": {"every_epochs": 2, "gamma": 0.5},
    "multi_step": {"milestones": [2, 3, 5], "gamma": 0.5},
    "cosine": {"final_lr_fraction": 0.1},
    "one_cycle": {"div_factor": 25.0, "final_div_factor": 1000.0, "anneal_strategy": "cos"},
    "plateau": {"patience_epochs": 0, "min_delta": 0.0, "gamma": 0.5, "min_lr_fraction": 0.0},
}


def make_section(name: str, *, warmup_epochs: float = 0.0, **changes: Any) -> LrScheduler:
    """Return an `lr_scheduler` section."""
    section = {
        **read_section("lr_scheduler"),
        **BLOCKS,
        "name": name,
        "warmup_epochs": warmup_epochs,
        **changes,
    }
    return LrScheduler.model_validate(section)


def make_plateau(section: LrScheduler) -> Plateau:
    """Return the plateau of a section before the first epoch."""
    return Plateau(section.plateau, metric="loss")


def make_optimizer(lr: float = 1.0) -> optim.Optimizer:
    """Return an optimizer whose steps change nothing."""
    return optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def follow(scheduler: optim.lr_scheduler.LRScheduler, num_steps: int) -> list[float]:
    """Return the learning rate of each step."""
    rates = []
    for _ in range(num_steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def compute(section: LrScheduler, *, num_epochs: int = 6, steps_per_epoch: int = 5) -> list[float]:
    """Return the factor of each step."""
    factor = build_factor(section, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch)
    return [factor(step) for step in range(num_epochs * steps_per_epoch)]


def test_constant_stays() -> None:
    """Without warm-up the learning rate never changes."""
    assert compute(make_section("constant")) == [1.0] * 30


@pytest.mark.parametrize("name", ["constant", "step", "multi_step", "cosine", "plateau"])
def test_warmup_rises_linearly(name: str) -> None:
    """The warm-up is torch's LinearLR from 1 / its steps to 1, reached at its last step."""
    warmup = optim.lr_scheduler.LinearLR(make_optimizer(), start_factor=1 / 10, total_iters=9)
    blocks = {"step": {"every_epochs": 3, "gamma": 0.5}, "multi_step": {"milestones": [3], "gamma": 0.5}}
    found = compute(make_section(name, warmup_epochs=2.0, **blocks))
    assert found[:10] == pytest.approx(follow(warmup, 10))
    assert found[9] == 1.0


def test_warmup_may_take_part_of_an_epoch() -> None:
    """A warm-up of 0.4 epochs of 5 steps takes 2 steps."""
    assert compute(make_section("constant", warmup_epochs=0.4))[:4] == [0.5, 1.0, 1.0, 1.0]


def test_step_is_that_of_torch() -> None:
    """Every few epochs the learning rate is multiplied by gamma, as in torch's StepLR."""
    reference = optim.lr_scheduler.StepLR(make_optimizer(), step_size=10, gamma=0.5)
    assert compute(make_section("step")) == pytest.approx(follow(reference, 30))


def test_multi_step_is_that_of_torch() -> None:
    """After each milestone the learning rate is multiplied by gamma, as in torch's MultiStepLR."""
    reference = optim.lr_scheduler.MultiStepLR(make_optimizer(), milestones=[10, 15, 25], gamma=0.5)
    assert compute(make_section("multi_step")) == pytest.approx(follow(reference, 30))


@pytest.mark.parametrize("milestones", [[3, 2], [2, 2], [], [0]])
def test_milestones_rise(milestones: list[int]) -> None:
    """Milestones are whole epochs in rising order."""
    with pytest.raises(ValidationError):
        make_section("multi_step", multi_step={"milestones": milestones, "gamma": 0.5})


def test_plateau_lowers_every_group_after_the_warmup() -> None:
    """What validation makes of the rate is a factor on each group's own, beside the warm-up."""
    section = make_section("plateau", warmup_epochs=1.0)
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(torch.zeros(1))]},
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1},
    ]
    optimizer, plateau = optim.SGD(groups, lr=1.0), make_plateau(section)
    scheduler = build_lr_scheduler(section, optimizer, num_epochs=6, steps_per_epoch=2, plateau=plateau)
    rates = []
    for _ in range(3):
        for _ in range(2):
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
        plateau.update(Scores(loss=1.0, accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5))
        refresh_rates(scheduler)
    assert [first for first, _ in rates] == pytest.approx([0.5, 1, 1, 1, 0.5, 0.5])
    assert [second for _, second in rates] == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_cosine_is_that_of_torch() -> None:
    """Half a cosine from the first step to the last, as in torch's CosineAnnealingLR."""
    reference = optim.lr_scheduler.CosineAnnealingLR(make_optimizer(), T_max=29, eta_min=0.1)
    found = compute(make_section("cosine"))
    assert found == pytest.approx(follow(reference, 30))
    assert found[-1] == pytest.approx(0.1)


def test_cosine_falls_after_the_warmup() -> None:
    """With a warm-up the cosine takes the steps that are left, and still ends at the final fraction."""
    reference = optim.lr_scheduler.CosineAnnealingLR(make_optimizer(), T_max=19, eta_min=0.1)
    found = compute(make_section("cosine", warmup_epochs=2.0))
    assert found[10:] == pytest.approx(follow(reference, 20))


@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("warmup_epochs", [1.0, 1.8, 3.0])
def test_one_cycle_is_that_of_torch(warmup_epochs: float, anneal_strategy: Literal["cos", "linear"]) -> None:
    """Up and down by half cosines or straight lines, as in torch's OneCycleLR without a momentum cycle."""
    reference = optim.lr_scheduler.OneCycleLR(
        make_optimizer(),
        max_lr=1.0,
        total_steps=30,
        pct_start=warmup_epochs / 6,
        cycle_momentum=False,
        three_phase=False,
        anneal_strategy=anneal_strategy,
        div_factor=25.0,
        final_div_factor=1000.0,
    )
    one_cycle = {**BLOCKS["one_cycle"], "anneal_strategy": anneal_strategy}
    found = compute(make_section("one_cycle", warmup_epochs=warmup_epochs, one_cycle=one_cycle))
    assert found == pytest.approx(follow(reference, 30))
    assert found[0] == pytest.approx(1 / 25)
    assert max(found) == 1.0
    assert found[-1] == pytest.approx(1 / 25_000)


def test_one_cycle_without_warmup_only_falls() -> None:
    """Without a warm-up the cycle starts at its top."""
    found = compute(make_section("one_cycle"))
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", names_of(LrScheduler))
def test_single_step_is_taken_at_the_top(name: str) -> None:
    """A run of one step, as on a tiny data set for one epoch, trains with the whole learning rate."""
    section = make_section(name, cosine={"final_lr_fraction": 0.0})
    assert compute(section, num_epochs=1, steps_per_epoch=1) == [1.0]


@settings(deadline=None)
@given(
    name=st.sampled_from(names_of(LrScheduler)),
    num_epochs=st.integers(1, 5),
    steps_per_epoch=st.integers(1, 5),
    warmup_share=st.floats(0, 1),
)
def test_factor_stays_between_0_and_1(
    name: str, num_epochs: int, steps_per_epoch: int, warmup_share: float
) -> None:
    """For any lengths, also a warm-up as long as the run, factors are above 0 and reach no more than 1."""
    section = make_section(name, warmup_epochs=warmup_share * num_epochs)
    factor = build_factor(section, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch)
    factors = [factor(step) for step in range(num_epochs * steps_per_epoch + 1)]
    assert all(math.isfinite(value) and 0 < value <= 1 for value in factors)


@pytest.mark.parametrize("name", names_of(LrScheduler))
def test_every_schedule_of_the_schema_is_built_and_tested(name: str) -> None:
    """A schedule that params.yaml may name sets the optimizer's rate step by step; a test above uses it."""
    section = make_section(name, warmup_epochs=1.0)
    scheduler = build_lr_scheduler(
        section, make_optimizer(lr=0.02), num_epochs=6, steps_per_epoch=5, plateau=make_plateau(section)
    )
    assert follow(scheduler, 30) == pytest.approx([0.02 * factor for factor in compute(section)])
    assert scheduler.optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0]
    assert re.search(rf'make_section\("{name}"', read_test("train/test_lr_scheduler.py"))


def make_halving_plateau(
    *, patience_epochs: int = 1, min_delta: float = 0.0, metric: str = "loss"
) -> Plateau:
    """Return a plateau that halves, down to 0.2."""
    arguments = PlateauParams(
        patience_epochs=patience_epochs, min_delta=min_delta, gamma=0.5, min_lr_fraction=0.2
    )
    return Plateau(arguments, metric=metric)


def make_scores(value: float, metric: str) -> Scores:
    """Return scores whose named one has a value."""
    others = {"loss": 1.0, "accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 0.5}
    return Scores.model_validate({**others, metric: value})


def follow_plateau(plateau: Plateau, values: list[float], *, metric: str = "loss") -> list[float]:
    """Return the factor after each epoch."""
    factors = []
    for value in values:
        plateau.update(make_scores(value, metric))
        factors.append(plateau.factor)
    return factors


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 20).map(lambda number: number / 20), min_size=1, max_size=25),
    patience_epochs=st.integers(0, 4),
    min_delta=st.sampled_from([0.0, 0.07]),
    metric=st.sampled_from(["loss", "accuracy"]),
)
def test_plateau_factor_is_that_of_torch(
    values: list[float], patience_epochs: int, min_delta: float, metric: str
) -> None:
    """For any course of the metric the factor is that of ReduceLROnPlateau."""
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="min" if metric == "loss" else "max",
        factor=0.5,
        patience=patience_epochs,
        threshold=min_delta,
        threshold_mode="abs",
        min_lr=0.2,
        eps=0.0,
    )
    expected = []
    for value in values:
        reference.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    plateau = make_halving_plateau(patience_epochs=patience_epochs, min_delta=min_delta, metric=metric)
    assert follow_plateau(plateau, values, metric=metric) == pytest.approx(expected)


@pytest.mark.parametrize("num_before", [0, 1, 3, 5])
def test_resumed_plateau_goes_on(num_before: int) -> None:
    """A copy made from the saved state sees the rest of the run as the unbroken one does."""
    values = [1.0, 0.9, 0.95, 0.96, 0.97, 0.8, 0.85, 0.86, 0.87, 0.88]
    unbroken, first, resumed = make_halving_plateau(), make_halving_plateau(), make_halving_plateau()
    expected = follow_plateau(unbroken, values)
    before = follow_plateau(first, values[:num_before])
    resumed.load_state_dict(first.state_dict())
    assert before + follow_plateau(resumed, values[num_before:]) == expected
    assert expected[-1] < 0.5
