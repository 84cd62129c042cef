"""Muon: momentum whose every update is made orthogonal."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, optim

from stages.train.eager import make_eager

# A quintic that takes singular values from (0, 1] to about 1 in few steps; from Jordan's post.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(optim.Optimizer):
    """Muon for the groups that say `use_muon: True`, AdamW for the others.

    Convolutions count as matrices (out_channels, in_channels * height * width). An orthogonal update has
    the same length for any gradient; times 0.2 * sqrt(longer side) it is as large as AdamW's are, so that
    learning rates and weight decay mean what they mean there. torch's own Muon takes matrices only.
    Source: Jordan 2024, https://kellerjordan.github.io/posts/muon/; the factor: Liu et al. 2025,
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
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        num_iterations: int,
        betas: tuple[float, float],
    ) -> None:
        # AdamW's defaults stand in every group, for its step to find them.
        adamw = make_eager(optim.AdamW)
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
            # Both were replaced if a state was loaded.
            self._adamw.param_groups = [group for group in self.param_groups if not group["use_muon"]]
            self._adamw.state = self.state
            self._adamw.step()

    def _step_muon(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
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

    In float32 where the source has bfloat16: that is faster on some processors and far slower on others.

    Args:
        matrix: float (rows, columns).
        num_iterations: 5 leave singular values between 0.7 and 1.2, which serves as well as exactly 1.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(num_iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T.contiguous() if is_tall else x
