"""Dropout that draws for each sample."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.vision.dropout import SampleDropout, draw_dropout, find_dropouts


def drop(
    samples: list[int], *, p: float = 0.5, epoch: int = 0, seed: int = 0, shape: tuple[int, ...] = (40,)
) -> Tensor:
    """Return what is left of ones for these samples."""
    dropout = SampleDropout(p)
    draw_dropout([dropout], seed=seed, epoch=epoch, samples=np.array(samples, dtype=np.int64))
    left: Tensor = dropout(torch.ones(len(samples), *shape))
    return left


def test_a_sample_loses_the_same_in_any_batch() -> None:
    """What a sample loses does not depend on the batch around it, so ranks draw what one process draws."""
    whole = drop([3, 1, 4, 15, 9])
    assert torch.equal(drop([4, 15]), whole[2:4])
    assert torch.equal(drop([9, 3]), whole[[4, 0]])


def test_seed_epoch_and_sample_change_what_is_dropped() -> None:
    """Another of them drops something else."""
    first = drop([3])
    for other in (drop([4]), drop([3], epoch=1), drop([3], seed=1)):
        assert not torch.equal(first, other)


def test_layers_draw_apart() -> None:
    """Two dropouts of one network drop different values."""
    network = nn.Sequential(SampleDropout(0.5), SampleDropout(0.5))
    dropouts = find_dropouts(network)
    draw_dropout(dropouts, seed=0, epoch=0, samples=np.arange(2))
    assert not torch.equal(network[0](torch.ones(2, 40)), network[1](torch.ones(2, 40)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_share_and_scale_are_those_of_torch(p: float) -> None:
    """A share p becomes 0, the rest grows by 1 / (1 - p), so that the mean stays."""
    left = drop(list(range(200)), p=p, shape=(8, 5, 5))
    share = (left == 0).double().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / left.numel()) ** 0.5)
    assert left.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_values_are_dropped_independently() -> None:
    """No two values of a sample are dropped together more often than chance has it."""
    kept = (drop(list(range(4000)), shape=(16,)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert correlation.abs().max().item() < 5 / 4000**0.5


def test_evaluation_drops_nothing() -> None:
    """In evaluation, and with p 0, values stay as they are."""
    values = torch.randn(2, 3)
    assert torch.equal(SampleDropout(0.5).eval()(values), values)
    assert torch.equal(SampleDropout(0.0)(values), values)
