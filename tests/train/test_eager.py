"""Optimizers without the hooks for torch's compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn, optim

from stages.train.eager import make_eager
from tests.pipeline.project import ROOT


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_steps_are_those_of_torch(optimizer: type[optim.Optimizer]) -> None:
    """After some steps the weights are torch's own to the bit, and so is the state; no step is recorded."""
    found = []
    for built in (optimizer, make_eager(optimizer)):
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
