"""The learning rate over time: a factor on `optimizer.lr` for every step."""

import math
from collections.abc import Callable

from torch import optim

from schemas.train.lr_scheduler import LrScheduler
from stages.train.plateau import Plateau


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
        plateau: What has become of the validation metric; `plateau` alone heeds it.
    """
    factor = build_factor(lr_scheduler, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch)
    if lr_scheduler.name == "plateau":
        return optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step) * plateau.factor)
    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def refresh_rates(lr_scheduler: optim.lr_scheduler.LambdaLR) -> None:
    """Set the next step's learning rates anew: validation, between two steps, may have lowered them."""
    groups, rates = lr_scheduler.optimizer.param_groups, lr_scheduler.base_lrs
    for group, rate, factor in zip(groups, rates, lr_scheduler.lr_lambdas, strict=True):
        group["lr"] = rate * factor(lr_scheduler.last_epoch)


def build_factor(
    lr_scheduler: LrScheduler, *, num_epochs: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step, counted from 0.

    A pure function of the step: a run resumed anywhere needs no state of the schedule. What `plateau` makes
    of the validation metric is not in it.
    """
    num_steps = num_epochs * steps_per_epoch
    warmup_steps = round(lr_scheduler.warmup_epochs * steps_per_epoch)
    builder = _BUILDERS[lr_scheduler.name]
    return builder(lr_scheduler, warmup_steps, num_steps, steps_per_epoch)


def _build_constant(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    return lambda step: _rise_linearly(step, warmup_steps)


def _build_step(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    interval, gamma = lr_scheduler.step.every_epochs * steps_per_epoch, lr_scheduler.step.gamma
    return lambda step: _rise_linearly(step, warmup_steps) * gamma ** (step // interval)


def _build_multi_step(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    milestones, gamma = lr_scheduler.multi_step.milestones, lr_scheduler.multi_step.gamma

    def factor(step: int) -> float:
        num_passed = sum(step >= epoch * steps_per_epoch for epoch in milestones)
        return _rise_linearly(step, warmup_steps) * gamma**num_passed

    return factor


def _build_cosine(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    final = lr_scheduler.cosine.final_lr_fraction

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _rise_linearly(step, warmup_steps)
        return _half_cosine(1.0, final, step - warmup_steps, num_steps - 1 - warmup_steps)

    return factor


def _build_one_cycle(
    lr_scheduler: LrScheduler, warmup_steps: int, num_steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """Return torch's OneCycleLR with three_phase off, its rise as long as the warm-up.

    The top is reached at step warmup_steps - 1, as in torch.
    """
    initial = 1 / lr_scheduler.one_cycle.div_factor
    final = initial / lr_scheduler.one_cycle.final_div_factor
    top_step = max(0, warmup_steps - 1)
    anneal = _half_cosine if lr_scheduler.one_cycle.anneal_strategy == "cos" else _straight

    def factor(step: int) -> float:
        if step < top_step:
            return anneal(initial, 1.0, step, top_step)
        return anneal(1.0, final, step - top_step, num_steps - 1 - top_step)

    return factor


def _rise_linearly(step: int, warmup_steps: int) -> float:
    """Return 1 / warmup_steps at the first step and 1 from the last step of the warm-up on."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def _half_cosine(start: float, end: float, step: int, num_steps: int) -> float:
    """Return where a half cosine from start to end is after so many of its steps; it stays at the end."""
    progress = min(1.0, step / max(1, num_steps))
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _straight(start: float, end: float, step: int, num_steps: int) -> float:
    """Return where a straight line from start to end is after so many of its steps; it stays at the end."""
    return start + (end - start) * min(1.0, step / max(1, num_steps))


_BUILDERS: dict[str, Callable[[LrScheduler, int, int, int], Callable[[int], float]]] = {
    "constant": _build_constant,
    "step": _build_step,
    "multi_step": _build_multi_step,
    "cosine": _build_cosine,
    "one_cycle": _build_one_cycle,
    "plateau": _build_constant,
}
