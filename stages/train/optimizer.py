"""The optimizer that `optimizer.name` names, over a network's parameters: torch's own, and Muon.

Weight decay is set for each group: weights that are matrices or kernels decay, biases and the weights of
norms, which have one dimension, only if `optimizer.decay_norm_and_bias` says so.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn, optim

from schemas.train.optimizer import Optimizer
from stages.shared.errors import find_builder

Group = dict[str, Any]
OptimizerT = TypeVar("OptimizerT", bound=optim.Optimizer)

_HOOKED = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
"""Methods that torch wraps, so that its compiler passes over them or breaks its graph there."""

# The quintic of Jordan's post: it takes singular values from (0, 1] to about 1 in few iterations.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


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
    build = find_builder(_BUILDERS, optimizer.name, key="optimizer.name", module="stages/train/optimizer.py")
    return build(optimizer, split_groups(optimizer, groups or [{"params": given}]))


def split_groups(optimizer: Optimizer, groups: Iterable[Group]) -> list[Group]:
    """Return the groups, each split into matrices and the rest, with `weight_decay` and `use_muon`.

    Convolutions and linear layers have more than one dimension; biases and the weights of norms have one.
    """
    split: dict[tuple[int, bool], Group] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            is_matrix = parameter.ndim > 1
            decay = optimizer.weight_decay if is_matrix or optimizer.decay_norm_and_bias else 0.0
            settings = {**group, "weight_decay": decay, "use_muon": is_matrix, "params": []}
            split.setdefault((number, is_matrix), settings)["params"].append(parameter)
    return list(split.values())


def without_compiler_hooks(optimizer: type[OptimizerT]) -> type[OptimizerT]:
    """Return an optimizer class that computes the same, its methods bare of what torch wraps around them.

    The first call of a wrapped method imports torch's compiler, which no optimizer here uses: measured, 1.25
    s of CPU time and 150 MB for every training run.
    """
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in _HOOKED}
    # The wrapper of step also turned gradients off.
    methods["step"] = torch.no_grad()(methods["step"])
    return cast("type[OptimizerT]", type(optimizer.__name__, (optimizer,), methods))


class Muon(optim.Optimizer):
    """Momentum whose every update is made orthogonal, for groups with `use_muon: True`; AdamW for the others.

    The update of a matrix is the nearest one whose singular values are all 1: it moves the weights equally in
    all directions, also in those in which the gradient is small.

    Departures from the source: a convolution counts as a matrix (out_channels, in_channels * height * width),
    where torch's own Muon takes matrices only. And an update, whose length is the same for any gradient, is
    scaled by 0.2 * sqrt(longer side), to be as large as AdamW's are, so that learning rates and weight decay
    mean here what they mean there.
    Source: Jordan 2024, https://kellerjordan.github.io/posts/muon/; the scale: Liu et al. 2025,
    arXiv:2502.16982.

    Args:
        groups: Parameter groups with `use_muon` and, where they differ from the defaults, `lr` and
            `weight_decay`.
        lr: Learning rate.
        weight_decay: Decoupled weight decay, as in AdamW.
        momentum: Share of the running mean of gradients that stays at each step.
        nesterov: Look ahead along the momentum.
        num_iterations: Newton-Schulz iterations; 5 bring singular values to between 0.7 and 1.2.
        betas: AdamW's, for the other groups.
    """

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        num_iterations: int,
        betas: tuple[float, float],
    ) -> None:
        adamw = without_compiler_hooks(optim.AdamW)
        # AdamW's step reads its settings from the groups, so every group gets all of its defaults.
        defaults = adamw([torch.zeros(())], lr=lr, betas=betas, weight_decay=weight_decay).defaults
        muon = {"momentum": momentum, "nesterov": nesterov, "num_iterations": num_iterations}
        super().__init__(groups, {**defaults, **muon, "use_muon": False})
        others = [group for group in self.param_groups if not group["use_muon"]]
        self._adamw = adamw(others, lr=lr, betas=betas, weight_decay=weight_decay) if others else None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        assert closure is None, "nothing here evaluates the loss again"
        for group in self.param_groups:
            if group["use_muon"]:
                for weights in group["params"]:
                    if weights.grad is not None:
                        self._step_muon(weights, weights.grad, group)
        if self._adamw:
            # load_state_dict replaces groups and state with new objects, and the schedule sets the rates of
            # ours: so the inner optimizer is handed both at every step and keeps none of its own.
            self._adamw.param_groups = [group for group in self.param_groups if not group["use_muon"]]
            self._adamw.state = self.state
            self._adamw.step()

    def _step_muon(self, weights: Tensor, gradient: Tensor, group: Group) -> None:
        state = self.state[weights]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        matrix = orthogonalize(update.flatten(1), num_iterations=group["num_iterations"])
        weights.mul_(1 - group["lr"] * group["weight_decay"])
        scale = 0.2 * math.sqrt(max(matrix.shape))
        weights.add_(matrix.view(update.shape), alpha=-group["lr"] * scale)


def orthogonalize(matrix: Tensor, *, num_iterations: int) -> Tensor:
    """Return about the nearest matrix with orthonormal rows or columns, by Newton-Schulz iterations.

    Each iteration applies p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5 to every singular value s, with no more
    than matrix products: far cheaper than a singular value decomposition, and as good for training.

    In float32 where the source has bfloat16, which is faster on some CPUs and far slower on others.

    Args:
        matrix: float (rows, columns).
        num_iterations: 5 leave singular values between 0.7 and 1.2, which serves as well as exactly 1.
    """
    a, b, c = _COEFFICIENTS
    # x @ x.T has the side of the rows: the shorter side makes the cheaper products.
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    # No singular value exceeds the Frobenius norm, so all of them are in (0, 1] now, where p converges.
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(num_iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T.contiguous() if is_tall else x


def _build_sgd(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    momentum, nesterov = optimizer.sgd.momentum, optimizer.sgd.nesterov
    sgd = without_compiler_hooks(optim.SGD)
    return sgd(_torch_groups(groups), lr=optimizer.lr, momentum=momentum, nesterov=nesterov, fused=True)


def _build_adam(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    adam = without_compiler_hooks(optim.Adam)
    return adam(_torch_groups(groups), lr=optimizer.lr, betas=optimizer.adam.betas, fused=True)


def _build_adamw(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    adamw = without_compiler_hooks(optim.AdamW)
    return adamw(_torch_groups(groups), lr=optimizer.lr, betas=optimizer.adamw.betas, fused=True)


def _build_rmsprop(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    alpha, momentum = optimizer.rmsprop.alpha, optimizer.rmsprop.momentum
    rmsprop = without_compiler_hooks(optim.RMSprop)
    return rmsprop(_torch_groups(groups), lr=optimizer.lr, alpha=alpha, momentum=momentum)


def _build_muon(optimizer: Optimizer, groups: Sequence[Group]) -> optim.Optimizer:
    muon = optimizer.muon
    for group in groups:
        if not group["use_muon"]:
            group["lr"] = group.get("lr", optimizer.lr) * muon.adamw_lr_factor
    return without_compiler_hooks(Muon)(
        groups,
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        momentum=muon.momentum,
        nesterov=muon.nesterov,
        num_iterations=muon.num_iterations,
        betas=muon.adamw_betas,
    )


def _torch_groups(groups: Sequence[Group]) -> list[Group]:
    """Return the groups as torch's own optimizers take them."""
    return [{key: value for key, value in group.items() if key != "use_muon"} for group in groups]


_BUILDERS: dict[str, Callable[[Optimizer, Sequence[Group]], optim.Optimizer]] = {
    "sgd": _build_sgd,
    "adam": _build_adam,
    "adamw": _build_adamw,
    "rmsprop": _build_rmsprop,
    "muon": _build_muon,
}
