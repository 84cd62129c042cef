"""Random numbers depend on what they are for, and on nothing else."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stages.vision.rng import SampleDropout, derive_seed, draw_uniform, find_dropouts, seed_dropouts

MASK = 2**64 - 1
SAMPLES = np.arange(20_000)


def split_mix_64(state: int, num: int) -> list[int]:
    """Return the first numbers of SplitMix64 as its authors write it."""
    return [mix(state + step * 0x9E3779B97F4A7C15) for step in range(1, num + 1)]


def mix(number: int) -> int:
    """Return what SplitMix64 makes of its state."""
    number &= MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def correlate(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Return the correlation in units of its standard deviation for independent numbers."""
    return float(np.corrcoef(first, second)[0, 1] * len(first) ** 0.5)


def test_reference_gives_the_published_numbers() -> None:
    """The reference below is SplitMix64: seed 1234567 gives the numbers its users publish."""
    assert split_mix_64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_seed_of_no_coordinates_is_a_split_mix_step() -> None:
    """derive_seed mixes the seed as SplitMix64 does and drops the lowest bit."""
    for seed in (0, 1, 2**32 - 1):
        assert derive_seed(seed) == split_mix_64(seed, 1)[0] >> 1


def test_uniforms_of_a_sample_are_a_split_mix_stream() -> None:
    """Sample 0's numbers are the top 53 bits of SplitMix64 started from the mixed coordinates."""
    [coordinates] = split_mix_64(5, 1)
    expected = [(number >> 11) / 2**53 for number in split_mix_64(mix(coordinates), 4)]
    assert draw_uniform(5, samples=np.array([0]), num_values=4).tolist() == [expected]


def test_numbers_stay_what_they_are() -> None:
    """A changed generator changes every trained network, so it must not change unnoticed."""
    assert derive_seed(0, 1, 2) == 3384391416029321617
    assert draw_uniform(0, 1, 2, samples=np.array([3]), num_values=1).tolist() == [[0.9512886807332076]]


def test_uniforms_have_one_row_a_sample() -> None:
    """They are float64 (N, num_values) in [0, 1), also for no sample at all."""
    uniforms = draw_uniform(0, 1, samples=SAMPLES, num_values=3)
    assert uniforms.dtype == np.float64
    assert uniforms.shape == (len(SAMPLES), 3)
    assert 0 <= uniforms.min() < uniforms.max() < 1
    assert draw_uniform(0, 1, samples=SAMPLES[:0], num_values=3).shape == (0, 3)


@pytest.mark.parametrize("coordinates", [(), (0,), (0, 0), (7, 3), (2**31, 1)])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_uniforms_are_uniform(seed: int, coordinates: tuple[int, ...]) -> None:
    """Chi-square over 100 bins, 99 degrees of freedom, is neither too large nor too small (p = 0.0002)."""
    uniforms = draw_uniform(seed, *coordinates, samples=SAMPLES, num_values=3)
    for column in uniforms.T:
        counts, _ = np.histogram(column, bins=100, range=(0, 1))
        expected = len(SAMPLES) / 100
        assert 56 < ((counts - expected) ** 2 / expected).sum() < 155


def test_uniforms_are_not_correlated() -> None:
    """Neighbors in every coordinate, and the numbers of one sample, are uncorrelated."""
    uniforms = draw_uniform(0, 4, 1, samples=SAMPLES, num_values=2)
    others = {
        "value": uniforms[:, 1],
        "sample": np.roll(uniforms[:, 0], 1),
        "place": draw_uniform(0, 4, 2, samples=SAMPLES, num_values=1)[:, 0],
        "epoch": draw_uniform(0, 5, 1, samples=SAMPLES, num_values=1)[:, 0],
        "seed": draw_uniform(1, 4, 1, samples=SAMPLES, num_values=1)[:, 0],
    }
    for name, other in others.items():
        assert abs(correlate(uniforms[:, 0], other)) < 4, name


def test_uniforms_never_repeat() -> None:
    """Different (seed, epoch, position, sample, value) have different numbers."""
    numbers = [
        draw_uniform(seed, epoch, place, samples=SAMPLES[:50], num_values=2)
        for seed in range(4)
        for epoch in range(4)
        for place in range(4)
    ]
    assert len(np.unique(numbers)) == 4 * 4 * 4 * 50 * 2


@settings(deadline=None)
@given(
    samples=st.lists(st.integers(0, 2**40), max_size=8),
    coordinates=st.lists(st.integers(0, 2**40), max_size=3),
)
def test_uniforms_do_not_depend_on_the_batch(samples: list[int], coordinates: list[int]) -> None:
    """A sample uniforms the same alone, in any batch, at any place in it, and if more numbers are drawn."""
    together = draw_uniform(3, *coordinates, samples=np.array(samples, dtype=np.int64), num_values=3)
    for sample, row in zip(samples, together, strict=True):
        alone = draw_uniform(3, *coordinates, samples=np.array([sample]), num_values=2)
        assert alone[0].tolist() == row[:2].tolist()


def test_seeds_differ_by_every_coordinate() -> None:
    """Seeds of different coordinates differ, also where only their order or number does."""
    seeds = [
        derive_seed(seed, *coordinates)
        for seed in range(20)
        for coordinates in ((), (0,), (0, 0), (1,), (1, 0), (0, 1), (2, 1), (1, 2), (0, 0, 0))
    ]
    assert len(set(seeds)) == len(seeds)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), coordinates=st.lists(st.integers(0, 2**63), max_size=3))
def test_seeds_suit_torch(seed: int, coordinates: list[int]) -> None:
    """A derived seed is a whole number in [0, 2^63)."""
    derived = derive_seed(seed, *coordinates)
    assert type(derived) is int
    assert 0 <= derived < 2**63


def drop(
    samples: list[int], *, p: float = 0.5, epoch: int = 0, seed: int = 0, shape: tuple[int, ...] = (40,)
) -> Tensor:
    """Return what is left of ones for these samples."""
    dropout = SampleDropout(p)
    seed_dropouts([dropout], seed=seed, epoch=epoch, samples=np.array(samples, dtype=np.int64))
    left: Tensor = dropout(torch.ones(len(samples), *shape))
    return left


def test_a_sample_has_the_same_mask_in_any_batch() -> None:
    """What a sample loses does not depend on the batch around it, so ranks draw what one process uniforms."""
    whole = drop([3, 1, 4, 15, 9])
    assert torch.equal(drop([4, 15]), whole[2:4])
    assert torch.equal(drop([9, 3]), whole[[4, 0]])


def test_seed_epoch_and_sample_change_what_is_dropped() -> None:
    """Another of them drops something else."""
    first = drop([3])
    for other in (drop([4]), drop([3], epoch=1), drop([3], seed=1)):
        assert not torch.equal(first, other)


def test_layers_have_masks_of_their_own() -> None:
    """Two dropouts of one network drop different values."""
    network = nn.Sequential(SampleDropout(0.5), SampleDropout(0.5))
    dropouts = find_dropouts(network)
    seed_dropouts(dropouts, seed=0, epoch=0, samples=np.arange(2))
    assert not torch.equal(network[0](torch.ones(2, 40)), network[1](torch.ones(2, 40)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_fraction_and_scale_are_those_of_torch(p: float) -> None:
    """A fraction p becomes 0, the rest is scaled by 1 / (1 - p), so that the mean stays."""
    left = drop(list(range(200)), p=p, shape=(8, 5, 5))
    share = (left == 0).double().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / left.numel()) ** 0.5)
    assert left.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_values_are_dropped_independently() -> None:
    """No two values of a sample are dropped together more often than by chance."""
    kept = (drop(list(range(4000)), shape=(16,)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert correlation.abs().max().item() < 5 / 4000**0.5


def test_evaluation_drops_nothing() -> None:
    """In evaluation, and with p 0, values stay as they are."""
    values = torch.randn(2, 3)
    assert torch.equal(SampleDropout(0.5).eval()(values), values)
    assert torch.equal(SampleDropout(0.0)(values), values)
