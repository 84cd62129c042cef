"""The optimizer that params.yaml names."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn, optim

from schemas.train.optimizer import Optimizer

Parameters = Iterable[nn.Parameter] | list[dict[str, Any]]
"""The parameters, or groups of them, each with a learning rate of its own."""


def build_optimizer(optimizer: Optimizer, parameters: Parameters) -> optim.Optimizer:
    """Return the optimizer over a network's parameters."""
    return _BUILDERS[optimizer.name](optimizer, parameters)


def _build_sgd(optimizer: Optimizer, parameters: Parameters) -> optim.Optimizer:
    return optim.SGD(
        parameters,
        lr=optimizer.lr,
        momentum=optimizer.sgd.momentum,
        nesterov=optimizer.sgd.nesterov,
        weight_decay=optimizer.weight_decay,
    )


def _build_adam(optimizer: Optimizer, parameters: Parameters) -> optim.Optimizer:
    return optim.Adam(
        parameters, lr=optimizer.lr, betas=optimizer.adam.betas, weight_decay=optimizer.weight_decay
    )


def _build_adamw(optimizer: Optimizer, parameters: Parameters) -> optim.Optimizer:
    return optim.AdamW(
        parameters, lr=optimizer.lr, betas=optimizer.adamw.betas, weight_decay=optimizer.weight_decay
    )


_BUILDERS: dict[str, Callable[[Optimizer, Parameters], optim.Optimizer]] = {
    "sgd": _build_sgd,
    "adam": _build_adam,
    "adamw": _build_adamw,
}
