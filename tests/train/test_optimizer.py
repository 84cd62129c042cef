"""Optimizers update weights as torch's do, with the parameters of their own block."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from schemas.train.optimizer import Optimizer
from stages.train.optimizer import Group, build_optimizer, without_compiler_hooks
from stages.train.state_file import read_state, write_state
from tests.pipeline.project import ROOT
from tests.vision.completeness import names_of, read_section, read_test

# Every block has numbers of its own, so that one read from the wrong block shows.
BLOCKS: dict[str, Any] = {
    "sgd": {"momentum": 0.7, "nesterov": True},
    "adam": {"betas": [0.8, 0.95]},
    "adamw": {"betas": [0.6, 0.85]},
    "rmsprop": {"alpha": 0.75, "momentum": 0.3},
    "muon": {
        "momentum": 0.9,
        "nesterov": True,
        "num_iterations": 5,
        "adamw_betas": [0.65, 0.8],
        "adamw_lr_factor": 0.5,
    },
}
SHARED: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.2, "decay_norm_and_bias": True}


def make_section(name: str, **changes: Any) -> Optimizer:
    """Return an `optimizer` section."""
    return Optimizer.model_validate(
        {**read_section("optimizer"), **SHARED, "name": name, **BLOCKS, **changes}
    )


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
        return optim.SGD([weights], lr=0.1, weight_decay=0.2, momentum=0.7, nesterov=True, fused=True)
    if name == "adam":
        return optim.Adam([weights], lr=0.1, weight_decay=0.2, betas=(0.8, 0.95), fused=True)
    if name == "rmsprop":
        return optim.RMSprop([weights], lr=0.1, weight_decay=0.2, alpha=0.75, momentum=0.3)
    if name == "muon":  # of a vector AdamW is in charge; test_muon.py has the rest
        return optim.AdamW([weights], lr=0.05, weight_decay=0.2, betas=(0.65, 0.8))
    assert name == "adamw"
    return optim.AdamW([weights], lr=0.1, weight_decay=0.2, betas=(0.6, 0.85), fused=True)


@pytest.mark.parametrize("name", names_of(Optimizer))
def test_every_optimizer_of_the_schema_is_built_and_tested(name: str) -> None:
    """An optimizer that params.yaml may name steps as torch's does, and a test above uses it."""
    weights, reference = start(), start()
    found = descend(build_optimizer(make_section(name), [weights]), weights)
    expected = descend(build_reference(name, reference), reference)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert f'"{name}"' in read_test("train/test_optimizer.py")


def make_network() -> nn.Sequential:
    """Return a network with a norm; its matrices are two."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("name", names_of(Optimizer))
@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_norms_and_biases_decay_only_if_asked(name: str, decay_norm_and_bias: bool) -> None:
    """Without gradients only decay moves weights: those of layers always, norms and biases by parameter."""
    network = make_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    build_optimizer(make_section(name, decay_norm_and_bias=decay_norm_and_bias), network.parameters()).step()
    moved = {key for key, parameter in network.named_parameters() if (parameter != 1).any()}
    assert moved == (
        {key for key, _ in network.named_parameters()} if decay_norm_and_bias else {"0.weight", "3.weight"}
    )


@pytest.mark.parametrize("name", names_of(Optimizer))
def test_groups_keep_their_learning_rates(name: str) -> None:
    """Parameter groups of a caller, such as backbone and head, stay apart with the rates they came with."""
    network = make_network()
    groups: list[Group] = [
        {"params": list(network[0].parameters()), "lr": 0.01},
        {"params": list(network[3].parameters())},
    ]
    built = build_optimizer(make_section(name), groups)
    rates = {id(weight): group["lr"] for group in built.param_groups for weight in group["params"]}
    for_vectors = 0.5 if name == "muon" else 1.0
    assert rates == {
        id(network[0].weight): 0.01,
        id(network[0].bias): 0.01 * for_vectors,
        id(network[3].weight): 0.1,
        id(network[3].bias): 0.1 * for_vectors,
    }


@pytest.mark.parametrize("name", names_of(Optimizer))
def test_saved_state_goes_on_in_channels_last(tmp_path: Path, name: str) -> None:
    """From a state that was written and read the next steps are the same, for channels_last kernels too."""

    def step(network: nn.Module, optimizer: optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        optimizer.zero_grad()
        network(torch.randn(2, 2, 4, 4).contiguous(memory_format=torch.channels_last)).sum().backward()
        optimizer.step()

    def make() -> tuple[nn.Module, optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        return network, build_optimizer(make_section(name), network.parameters())

    unbroken, resumed = make(), make()
    step(*unbroken, seed=1)
    write_state(tmp_path / "state", {"optimizer": unbroken[1].state_dict()})
    resumed[0].load_state_dict(unbroken[0].state_dict())
    resumed[1].load_state_dict(read_state(tmp_path / "state")["optimizer"])
    for seed in (2, 3):
        step(*unbroken, seed=seed)
        step(*resumed, seed=seed)
    for one, other in zip(unbroken[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_steps_without_hooks_are_those_of_torch(optimizer: type[optim.Optimizer]) -> None:
    """After some steps the weights are torch's own to the bit, and so is the state; no step is recorded."""
    found = []
    for built in (optimizer, without_compiler_hooks(optimizer)):
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        chosen = built(network.parameters(), lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
        for _ in range(3):
            chosen.zero_grad()
            network(torch.randn(5, 3)).square().sum().backward()
            chosen.step()
        assert all(weights.grad_fn is None for weights in network.parameters())
        found.append((list(network.parameters()), chosen.state_dict()))
    (expected, expected_state), (weights, state) = found
    assert all(torch.equal(one, other) for one, other in zip(weights, expected, strict=True))
    assert state["param_groups"] == expected_state["param_groups"]
    assert state["state"].keys() == expected_state["state"].keys()


_PROGRAM = """
import sys, torch
from stages.train.optimizer import build_optimizer
from tests.train.test_optimizer import make_section
weights = torch.nn.Parameter(torch.ones(4, 4))
for name in ("sgd", "adam", "adamw", "rmsprop", "muon"):
    optimizer = build_optimizer(make_section(name), [weights])
    weights.grad = torch.ones(4, 4)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
import stages.train.stage
print(*sys.modules)
"""


def test_training_imports_neither_the_compiler_nor_dvclive() -> None:
    """A training run imports neither: they take longer than all of the stage's own code."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert not {"torch._dynamo", "dvclive", "dvc", "torchvision"} & set(done.stdout.split())
