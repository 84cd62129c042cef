"""Muon: orthogonal updates for matrices and convolutions, AdamW for the rest."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

from stages.train.optimizer import Muon, orthogonalize


def make_random(*shape: int, seed: int = 0) -> Tensor:
    """Return normally distributed random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_muon(*weights: nn.Parameter, use_muon: bool = True, nesterov: bool = True) -> Muon:
    """Return the optimizer over some weights."""
    return Muon(
        [{"params": list(weights), "use_muon": use_muon}],
        lr=0.02,
        weight_decay=0.1,
        momentum=0.9,
        nesterov=nesterov,
        num_iterations=5,
        betas=(0.8, 0.9),
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 1000))
def test_singular_values_become_about_1(rows: int, columns: int, seed: int) -> None:
    """Directions stay, and lengths that are not lost in the largest become about 1."""
    matrix = make_random(rows, columns, seed=seed)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalize(matrix, num_iterations=5) @ vt.T
    lengths = found.diagonal()
    torch.testing.assert_close(found, lengths.diag(), atol=2e-4, rtol=0)
    assert lengths[s > 0.02 * s.norm()].min() > 0.6
    assert lengths.max() < 1.3


def test_iterations_are_those_of_torch() -> None:
    """Up to the 16-bit numbers that torch computes with, the result is its own."""
    from torch.optim._muon import EPS, _zeropower_via_newtonschulz

    for shape in ((6, 20), (20, 6)):
        expected = _zeropower_via_newtonschulz(make_random(*shape), (3.4445, -4.7750, 2.0315), 5, EPS)
        found = orthogonalize(make_random(*shape), num_iterations=5)
        torch.testing.assert_close(found, expected.float(), atol=0.05, rtol=0)


def test_no_gradient_is_no_update() -> None:
    """A matrix of zeros has no direction, and stays."""
    assert torch.equal(orthogonalize(torch.zeros(3, 4), num_iterations=5), torch.zeros(3, 4))


@pytest.mark.parametrize("nesterov", [True, False])
def test_matrices_move_as_with_torch(nesterov: bool) -> None:
    """Momentum, scale and decay are those of torch's Muon with the scale of AdamW."""
    weights, reference = nn.Parameter(make_random(6, 10)), nn.Parameter(make_random(6, 10))
    optimizer = make_muon(weights, nesterov=nesterov)
    expected = optim.Muon(
        [reference],
        lr=0.02,
        weight_decay=0.1,
        momentum=0.9,
        nesterov=nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    for step in range(4):
        weights.grad, reference.grad = make_random(6, 10, seed=step), make_random(6, 10, seed=step)
        optimizer.step()
        expected.step()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(weights, reference, atol=2e-3, rtol=0)
    assert (weights - make_random(6, 10)).abs().max() > 0.02


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_convolution_is_a_matrix(memory_format: torch.memory_format) -> None:
    """A kernel moves as its matrix (out_channels, everything else) does, however it lies in memory."""
    kernel = nn.Parameter(make_random(4, 3, 3, 3).to(memory_format=memory_format))
    matrix = nn.Parameter(make_random(4, 3, 3, 3).flatten(1))
    optimizers = make_muon(kernel), make_muon(matrix)
    for step in range(3):
        gradient = make_random(4, 3, 3, 3, seed=step)
        kernel.grad, matrix.grad = gradient.to(memory_format=memory_format), gradient.flatten(1)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_state_is_loaded_and_goes_on() -> None:
    """A copy made from the saved state takes the same next step, in both kinds of groups."""
    weights = [nn.Parameter(make_random(3, 4)), nn.Parameter(make_random(5))]

    def build(parameters: list[nn.Parameter]) -> Muon:
        return Muon(
            [{"params": parameters[:1], "use_muon": True}, {"params": parameters[1:], "use_muon": False}],
            lr=0.02,
            weight_decay=0.1,
            momentum=0.9,
            nesterov=True,
            num_iterations=5,
            betas=(0.8, 0.9),
        )

    def step(optimizer: Muon, parameters: list[nn.Parameter], seed: int) -> None:
        for parameter in parameters:
            parameter.grad = make_random(*parameter.shape, seed=seed)
        optimizer.step()

    optimizer = build(weights)
    step(optimizer, weights, 1)
    copies = [nn.Parameter(each.detach().clone()) for each in weights]
    resumed = build(copies)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    for seed in (2, 3):
        step(optimizer, weights, seed)
        step(resumed, copies, seed)
    assert all(torch.equal(one, other) for one, other in zip(weights, copies, strict=True))
