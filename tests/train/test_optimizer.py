"""Optimizers update weights as torch's do, with the parameters of their own block."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from schemas.train.optimizer import Optimizer
from stages.train.optimizer import build_optimizer
from tests.vision.completeness import names_of, read_test

# Every block has numbers of its own, so that one read from the wrong block shows.
BLOCKS: dict[str, Any] = {
    "sgd": {"momentum": 0.7, "nesterov": True},
    "adam": {"betas": [0.8, 0.95]},
    "adamw": {"betas": [0.6, 0.85]},
}


def make_section(name: str, **changes: Any) -> Optimizer:
    """Return an `optimizer` section."""
    return Optimizer.model_validate({"name": name, "lr": 0.1, "weight_decay": 0.2, **BLOCKS, **changes})


def descend(optimizer: optim.Optimizer, weights: nn.Parameter, *, num_steps: int = 4) -> list[Tensor]:
    """Return the weights after each step down the slope of x sin x."""
    after = []
    for _ in range(num_steps):
        weights.grad = slope(weights.detach())
        optimizer.step()
        after.append(weights.detach().clone())
    return after


def start() -> nn.Parameter:
    """Return the same initial weights every time."""
    return nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))


def compute_sgd(weights: Tensor, gradients: list[Tensor], *, nesterov: bool) -> list[Tensor]:
    """Return the weights after each step of SGD with momentum, from the formula."""
    after, velocity = [], torch.zeros_like(weights)
    for gradient in gradients:
        decayed = gradient + 0.2 * weights
        velocity = 0.7 * velocity + decayed
        weights = weights - 0.1 * (decayed + 0.7 * velocity if nesterov else velocity)
        after.append(weights)
    return after


def compute_adam(weights: Tensor, gradients: list[Tensor], *, is_decoupled: bool) -> list[Tensor]:
    """Return the weights after each step of Adam or AdamW, from the papers."""
    beta1, beta2 = BLOCKS["adamw" if is_decoupled else "adam"]["betas"]
    after, mean, square = [], torch.zeros_like(weights), torch.zeros_like(weights)
    for step, gradient in enumerate(gradients, start=1):
        if is_decoupled:
            weights = weights - 0.1 * 0.2 * weights
        else:
            gradient = gradient + 0.2 * weights
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        update = mean / (1 - beta1**step) / ((square / (1 - beta2**step)).sqrt() + 1e-8)
        weights = weights - 0.1 * update
        after.append(weights)
    return after


def slope(weights: Tensor) -> Tensor:
    """Return the gradient of x sin x."""
    return weights.cos() * weights + weights.sin()


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_follows_its_formula(nesterov: bool) -> None:
    """Momentum, Nesterov's look ahead and weight decay are those of `optimizer.sgd`."""
    weights = start()
    section = make_section("sgd", sgd={"momentum": 0.7, "nesterov": nesterov})
    found = descend(build_optimizer(section, [weights]), weights)
    gradients = [slope(before) for before in (start().detach(), *found[:-1])]
    torch.testing.assert_close(found, compute_sgd(start().detach(), gradients, nesterov=nesterov))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_follows_its_formula(name: str) -> None:
    """Betas are those of the optimizer's own block; weight decay joins the gradient, or not in AdamW."""
    weights = start()
    found = descend(build_optimizer(make_section(name), [weights]), weights)
    gradients = [slope(before) for before in (start().detach(), *found[:-1])]
    expected = compute_adam(start().detach(), gradients, is_decoupled=name == "adamw")
    torch.testing.assert_close(found, expected)


def build_reference(name: str, weights: nn.Parameter) -> optim.Optimizer:
    """Return torch's optimizer with the numbers above."""
    if name == "sgd":
        return optim.SGD([weights], lr=0.1, weight_decay=0.2, momentum=0.7, nesterov=True)
    if name == "adam":
        return optim.Adam([weights], lr=0.1, weight_decay=0.2, betas=(0.8, 0.95))
    assert name == "adamw"
    return optim.AdamW([weights], lr=0.1, weight_decay=0.2, betas=(0.6, 0.85))


@pytest.mark.parametrize("name", names_of(Optimizer))
def test_every_optimizer_of_the_schema_is_built_and_tested(name: str) -> None:
    """An optimizer that params.yaml may name steps as torch's does, and a test above uses it."""
    weights, reference = start(), start()
    found = descend(build_optimizer(make_section(name), [weights]), weights)
    expected = descend(build_reference(name, reference), reference)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert f'"{name}"' in read_test("train/test_optimizer.py")
