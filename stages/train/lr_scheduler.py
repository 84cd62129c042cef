"""The learning rate over time: a factor on `optimizer.lr` for every step.

Every schedule is a pure function of the step, so that a run resumed anywhere needs no state of it. The one
exception is `plateau`, whose factor follows the validation metric and is part of the training state.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import optim

from schemas.train.lr_scheduler import LrScheduler
from schemas.train.lr_scheduler import Plateau as PlateauParams
from schemas.vision.checkpoint import Scores
from stages.shared.errors import find_builder

Factor = Callable[[int], float]
"""From the step, counted from 0, to the factor on the learning rate."""


class Plateau:
    """A factor on the learning rate that falls when a metric has not improved for some epochs.

    As torch's ReduceLROnPlateau with an absolute threshold, but without an optimizer, so that it multiplies
    with the warm-up and with the rates of several parameter groups.
    """

    def __init__(self, arguments: PlateauParams, *, metric: str) -> None:
        self._arguments = arguments
        self._metric = metric
        self._best: float | None = None
        self._num_bad_epochs = 0
        self.factor = 1.0

    def update(self, scores: Scores) -> None:
        """Lower the factor if an epoch's validation scores are one too many without improvement."""
        value = -scores.loss if self._metric == "loss" else getattr(scores, self._metric)
        if self._best is None or value > self._best + self._arguments.min_delta:
            self._best, self._num_bad_epochs = value, 0
            return
        self._num_bad_epochs += 1
        if self._num_bad_epochs > self._arguments.patience_epochs:
            self.factor = max(self.factor * self._arguments.gamma, self._arguments.min_lr_fraction)
            self._num_bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"best": self._best, "num_bad_epochs": self._num_bad_epochs, "factor": self.factor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Become what state_dict was taken from."""
        self._best = state_dict["best"]
        self._num_bad_epochs = state_dict["num_bad_epochs"]
        self.factor = state_dict["factor"]


def build_lr_scheduler(
    lr_scheduler: LrScheduler,
    optimizer: optim.Optimizer,
    *,
    num_epochs: int,
    steps_per_epoch: int,
    plateau: Plateau,
) -> optim.lr_scheduler.LambdaLR:
    """Return the schedule; its `step()` is called once after every optimizer step.

    Args:
        lr_scheduler: The section.
        optimizer: Whose learning rates it sets.
        num_epochs: The run's length.
        steps_per_epoch: Optimizer steps.
        plateau: Follows the validation metric; only the schedule `plateau` multiplies by its factor.
    """
    factor = build_factor(lr_scheduler, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch)
    if lr_scheduler.name == "plateau":
        return optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step) * plateau.factor)
    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def refresh_rates(lr_scheduler: optim.lr_scheduler.LambdaLR) -> None:
    """Set the next step's learning rates again: validation, between two steps, may have lowered them."""
    groups, rates = lr_scheduler.optimizer.param_groups, lr_scheduler.base_lrs
    for group, rate, factor in zip(groups, rates, lr_scheduler.lr_lambdas, strict=True):
        group["lr"] = rate * factor(lr_scheduler.last_epoch)


def build_factor(lr_scheduler: LrScheduler, *, num_epochs: int, steps_per_epoch: int) -> Factor:
    """Return the factor on the learning rate as a function of the step.

    For `plateau` that is the warm-up alone.
    """
    num_steps = num_epochs * steps_per_epoch
    warmup_steps = round(lr_scheduler.warmup_epochs * steps_per_epoch)
    builder = find_builder(
        _BUILDERS, lr_scheduler.name, key="lr_scheduler.name", module="stages/train/lr_scheduler.py"
    )
    return builder(lr_scheduler, warmup_steps, num_steps, steps_per_epoch)


def _build_constant(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Factor:
    return lambda step: _warm_up(step, warmup_steps)


def _build_step(lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int) -> Factor:
    interval, gamma = lr_scheduler.step.every_epochs * steps_per_epoch, lr_scheduler.step.gamma
    return lambda step: _warm_up(step, warmup_steps) * gamma ** (step // interval)


def _build_multi_step(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Factor:
    milestones, gamma = lr_scheduler.multi_step.milestones, lr_scheduler.multi_step.gamma

    def factor(step: int) -> float:
        num_passed = sum(step >= epoch * steps_per_epoch for epoch in milestones)
        return _warm_up(step, warmup_steps) * gamma**num_passed

    return factor


def _build_cosine(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Factor:
    final = lr_scheduler.cosine.final_lr_fraction

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _warm_up(step, warmup_steps)
        return _half_cosine(1.0, final, step - warmup_steps, num_steps - 1 - warmup_steps)

    return factor


def _build_one_cycle(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Factor:
    """Return torch's OneCycleLR with three_phase off; it rises for as long as the warm-up.

    The top is reached at step warmup_steps - 1, as in torch.
    """
    initial = 1 / lr_scheduler.one_cycle.div_factor
    final = initial / lr_scheduler.one_cycle.final_div_factor
    top_step = max(0, warmup_steps - 1)
    anneal = _half_cosine if lr_scheduler.one_cycle.anneal_strategy == "cos" else _linear

    def factor(step: int) -> float:
        if step < top_step:
            return anneal(initial, 1.0, step, top_step)
        return anneal(1.0, final, step - top_step, num_steps - 1 - top_step)

    return factor


def _warm_up(step: int, warmup_steps: int) -> float:
    """Return 1 / warmup_steps at the first step and 1 from the last step of the warm-up on."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def _half_cosine(start: float, end: float, step: int, num_steps: int) -> float:
    """Return a half cosine from start to end after `step` of its steps; it stays at the end."""
    progress = min(1.0, step / max(1, num_steps))
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _linear(start: float, end: float, step: int, num_steps: int) -> float:
    """Return a straight line from start to end after `step` of its steps; it stays at the end."""
    return start + (end - start) * min(1.0, step / max(1, num_steps))


_BUILDERS: dict[str, Callable[[LrScheduler, int, int, int], Factor]] = {
    "constant": _build_constant,
    "step": _build_step,
    "multi_step": _build_multi_step,
    "cosine": _build_cosine,
    "one_cycle": _build_one_cycle,
    "plateau": _build_constant,
}
