"""Random numbers that depend on what they are for, and on nothing else."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.vision.draws import derive_seed, draw_uniform

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


def test_draws_of_a_sample_are_a_split_mix_stream() -> None:
    """Sample 0's numbers are the top 53 bits of SplitMix64 started from the mixed coordinates."""
    [coordinates] = split_mix_64(5, 1)
    expected = [(number >> 11) / 2**53 for number in split_mix_64(mix(coordinates), 4)]
    assert draw_uniform(5, samples=np.array([0]), num_draws=4).tolist() == [expected]


def test_numbers_stay_what_they_are() -> None:
    """A change of the generator changes every trained network; it does not happen unnoticed."""
    assert derive_seed(0, 1, 2) == 3384391416029321617
    assert draw_uniform(0, 1, 2, samples=np.array([3]), num_draws=1).tolist() == [[0.9512886807332076]]


def test_draws_have_one_row_a_sample() -> None:
    """Draws are float64 (N, num_draws) in [0, 1), also for no sample at all."""
    draws = draw_uniform(0, 1, samples=SAMPLES, num_draws=3)
    assert draws.dtype == np.float64
    assert draws.shape == (len(SAMPLES), 3)
    assert 0 <= draws.min() < draws.max() < 1
    assert draw_uniform(0, 1, samples=SAMPLES[:0], num_draws=3).shape == (0, 3)


@pytest.mark.parametrize("coordinates", [(), (0,), (0, 0), (7, 3), (2**31, 1)])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_draws_are_uniform(seed: int, coordinates: tuple[int, ...]) -> None:
    """Chi-square over 100 bins, 99 degrees of freedom, is neither too large nor too small (p = 0.0002)."""
    draws = draw_uniform(seed, *coordinates, samples=SAMPLES, num_draws=3)
    for column in draws.T:
        counts, _ = np.histogram(column, bins=100, range=(0, 1))
        expected = len(SAMPLES) / 100
        assert 56 < ((counts - expected) ** 2 / expected).sum() < 155


def test_draws_are_not_correlated() -> None:
    """Neighbours in every coordinate, and the numbers of one sample, have nothing to do with each other."""
    draws = draw_uniform(0, 4, 1, samples=SAMPLES, num_draws=2)
    others = {
        "draw": draws[:, 1],
        "sample": np.roll(draws[:, 0], 1),
        "place": draw_uniform(0, 4, 2, samples=SAMPLES, num_draws=1)[:, 0],
        "epoch": draw_uniform(0, 5, 1, samples=SAMPLES, num_draws=1)[:, 0],
        "seed": draw_uniform(1, 4, 1, samples=SAMPLES, num_draws=1)[:, 0],
    }
    for name, other in others.items():
        assert abs(correlate(draws[:, 0], other)) < 4, name


def test_draws_never_repeat() -> None:
    """Different (seed, epoch, place, sample, draw) have different numbers."""
    numbers = [
        draw_uniform(seed, epoch, place, samples=SAMPLES[:50], num_draws=2)
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
def test_draws_do_not_depend_on_the_batch(samples: list[int], coordinates: list[int]) -> None:
    """A sample draws the same alone, in any batch, at any place in it, and if more numbers are drawn."""
    together = draw_uniform(3, *coordinates, samples=np.array(samples, dtype=np.int64), num_draws=3)
    for sample, row in zip(samples, together, strict=True):
        alone = draw_uniform(3, *coordinates, samples=np.array([sample]), num_draws=2)
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
