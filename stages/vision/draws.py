"""Random numbers as a function of what they are for, never of what was drawn before.

A number depends on (seed, epoch, transform, sample) alone: not on workers, batch size, processes, or where a
run was resumed. The generator is SplitMix64's mixing function (Steele, Lea and Flood 2014,
doi:10.1145/2714064.2660195) applied to those coordinates in turn.
"""

import numpy as np
import numpy.typing as npt

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def derive_seed(seed: int, *coordinates: int) -> int:
    """Return a seed below 2^63 for the given coordinates, such as an epoch and a step."""
    return int(_fold(seed, coordinates)[0] >> np.uint64(1))


def draw_uniform(
    seed: int, *coordinates: int, samples: npt.NDArray[np.int64], num_draws: int
) -> npt.NDArray[np.float64]:
    """Return uniform numbers in [0, 1) for each sample.

    Args:
        seed: The run's seed.
        coordinates: What the numbers are for, such as the epoch and the place of a transform.
        samples: int64 (N,), the number of each sample in its split.
        num_draws: How many numbers each sample needs.

    Returns:
        float64 (N, num_draws).
    """
    of_sample = _mix(_fold(seed, coordinates) ^ _mix(samples.astype(np.uint64)))
    counters = np.arange(1, num_draws + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits = _mix(of_sample[:, None] + counters)
    uniform: npt.NDArray[np.float64] = (bits >> np.uint64(11)) * np.float64(2.0**-53)
    return uniform


def draw_mask(
    seed: int, *, samples: npt.NDArray[np.int64], num_values: int, fraction: float
) -> tuple[npt.NDArray[np.bool_], float]:
    """Return for each sample which of so many values are chosen, each with the probability fraction.

    Four decisions come of each draw, for masks are large: a probability is met to 1 in 65,536.

    Returns:
        bool (N, num_values), and the probability that was met, at least 1 in 65,536.
    """
    of_sample = _mix(_fold(seed, ()) ^ _mix(samples.astype(np.uint64)))
    counters = np.arange(1, -(-num_values // 4) + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    parts = _mix(of_sample[:, None] + counters).view(np.uint16)[:, :num_values]
    threshold = max(1, round(fraction * 2**16))
    mask: npt.NDArray[np.bool_] = parts < threshold
    return mask, threshold / 2**16


def _fold(seed: int, coordinates: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    state = np.array([seed & _MASK], dtype=np.uint64)
    for coordinate in coordinates:
        state = _mix(state + np.uint64(_GOLDEN)) ^ np.uint64(coordinate & _MASK)
    return _mix(state + np.uint64(_GOLDEN))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
