"""The optimizer that params.yaml names."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn, optim

from schemas.train.optimizer import Optimizer
from stages.train.eager import make_eager
from stages.train.muon import Muon

Group = dict[str, Any]


def build_optimizer(
    optimizer: Optimizer, parameters: Iterable[nn.Parameter] | Iterable[Group]
) -> optim.Optimizer:
    """Return the optimizer over a network's parameters.

    Where torch has one pass over a weight (`fused`) it is taken. It reads a weight's state as if that lay in
    memory as the weight does, so a state that was saved and read must have kept its strides.

    Args:
        optimizer: The section.
        parameters: All of them, or torch's parameter groups: `params`, and `lr` where it is another one.
    """
    given = list(parameters)
    groups = [each for each in given if isinstance(each, dict)]
    return _BUILDERS[optimizer.name](optimizer, split_groups(optimizer, groups or [{"params": given}]))


def split_groups(optimizer: Optimizer, groups: Iterable[Group]) -> list[Group]:
    """Return the groups with those weights apart that decay in another way or are no matrices.

    Biases and the weights of norms are what has one dimension; convolutions and linear layers have more.
    """
    split: dict[tuple[int, bool], Group] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            is_matrix = parameter.ndim > 1
            decay = optimizer.weight_decay if is_matrix or optimizer.decay_norm_and_bias else 0.0
            settings = {**group, "weight_decay": decay, "use_muon": is_matrix, "params": []}
            split.setdefault((number, is_matrix), settings)["params"].append(parameter)
    return list(split.values())


def _build_sgd(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    momentum, nesterov = optimizer.sgd.momentum, optimizer.sgd.nesterov
    parameters = _without_muon(groups)
    return make_eager(optim.SGD)(
        parameters, lr=optimizer.lr, momentum=momentum, nesterov=nesterov, fused=True
    )


def _build_adam(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    adam = make_eager(optim.Adam)
    return adam(_without_muon(groups), lr=optimizer.lr, betas=optimizer.adam.betas, fused=True)


def _build_adamw(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    adamw = make_eager(optim.AdamW)
    return adamw(_without_muon(groups), lr=optimizer.lr, betas=optimizer.adamw.betas, fused=True)


def _build_rmsprop(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    alpha, momentum = optimizer.rmsprop.alpha, optimizer.rmsprop.momentum
    rmsprop = make_eager(optim.RMSprop)
    return rmsprop(_without_muon(groups), lr=optimizer.lr, alpha=alpha, momentum=momentum)


def _build_muon(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    muon = optimizer.muon
    for group in groups:
        if not group["use_muon"]:
            group["lr"] = group.get("lr", optimizer.lr) * muon.adamw_lr_factor
    return make_eager(Muon)(
        groups,
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        momentum=muon.momentum,
        nesterov=muon.nesterov,
        num_iterations=muon.num_iterations,
        betas=muon.adamw_betas,
    )


def _without_muon(groups: Sequence[Group]) -> list[Group]:
    return [{key: value for key, value in group.items() if key != "use_muon"} for group in groups]


_BUILDERS: dict[str, Callable[[Optimizer, Sequence[Group]], optim.Optimizer]] = {
    "sgd": _build_sgd,
    "adam": _build_adam,
    "adamw": _build_adamw,
    "rmsprop": _build_rmsprop,
    "muon": _build_muon,
}
