"""Random numbers as a function of (seed, epoch, step, sample), never of what was generated before.

Why not torch's or NumPy's generators: a generator is a sequence, so each number depends on how many were
taken before it. Augmentation would change with the batch size, the number of workers, the sharding over
processes and the step at which a run was resumed. One generator per sample avoids that, but seeding torch's
takes 4.5 us each, 290 us for a batch of 64, in which all numbers take 50 us here.

A number is a hash of its coordinates: SplitMix64's mixing function (Steele, Lea and Flood 2014,
doi:10.1145/2714064.2660195) is applied to the seed and every coordinate in turn, and the result starts one
SplitMix64 stream per sample. Arithmetic is modulo 2^64, on arrays of uint64.

Dropout is here as well, because it is the one layer whose random numbers must follow the sample.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.vision.runtime import send

_GOLDEN = 0x9E3779B97F4A7C15
"""SplitMix64's increment: 2^64 divided by the golden ratio, made odd."""

_MASK = 2**64 - 1

_DROPOUT = 2**32
"""First coordinate of dropout layers, out of reach of the positions of transforms, which count from 0."""


def derive_seed(seed: int, *coordinates: int) -> int:
    """Return a seed in [0, 2^63) for the given coordinates, such as an epoch and a step."""
    return int(_fold(seed, coordinates)[0] >> np.uint64(1))


def draw_uniform(
    seed: int, *coordinates: int, samples: npt.NDArray[np.int64], num_values: int
) -> npt.NDArray[np.float64]:
    """Return uniform random numbers in [0, 1) for each sample.

    Args:
        seed: The run's seed.
        coordinates: What the numbers are for, such as the epoch and the position of a transform.
        samples: int64 (N,), the index of each sample in its split.
        num_values: Random numbers per sample. The first ones stay the same if more are asked for.

    Returns:
        float64 (N, num_values).
    """
    bits = _start_streams(seed, coordinates, samples=samples, length=num_values)
    # The upper 53 bits, as many as a float64 holds exactly.
    uniform: npt.NDArray[np.float64] = (bits >> np.uint64(11)) * np.float64(2.0**-53)
    return uniform


def draw_mask(
    seed: int, *, samples: npt.NDArray[np.int64], num_values: int, fraction: float
) -> tuple[npt.NDArray[np.bool_], float]:
    """Return a random mask for each sample; every value is True with probability `fraction`.

    Masks are large, so each 64-bit number decides four values with 16 bits each. This rounds the probability
    to a multiple of 1 / 65,536.

    Args:
        seed: The seed for this layer and epoch.
        samples: int64 (N,), the index of each sample in its split.
        num_values: Values per sample.
        fraction: Probability in [0, 1].

    Returns:
        bool (N, num_values), and the rounded probability, at least 1 / 65,536.
    """
    bits = _start_streams(seed, (), samples=samples, length=-(-num_values // 4))
    threshold = max(1, round(fraction * 2**16))
    mask: npt.NDArray[np.bool_] = bits.view(np.uint16)[:, :num_values] < threshold
    return mask, threshold / 2**16


def seed_from_uniform(uniform: float) -> int:
    """Return a seed for a generator of one image's own, from a random number in [0, 1)."""
    return int(uniform * 2**53)


def _start_streams(
    seed: int, coordinates: tuple[int, ...], *, samples: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.uint64]:
    """Return the first numbers of each sample's stream, uint64 (N, length)."""
    starts = _mix(_fold(seed, coordinates) ^ _mix(samples.astype(np.uint64)))
    steps = np.arange(1, length + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mix(starts[:, None] + steps)


def _fold(seed: int, coordinates: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """Hash the seed and the coordinates, whose order and number count, to uint64 (1,)."""
    # An array of one, for NumPy warns when a scalar overflows, and an array silently wraps around.
    state = np.array([seed & _MASK], dtype=np.uint64)
    for coordinate in coordinates:
        state = _mix(state + np.uint64(_GOLDEN)) ^ np.uint64(coordinate & _MASK)
    return _mix(state + np.uint64(_GOLDEN))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Apply SplitMix64's finalizer, a bijection in which every input bit flips half of the output bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


class SampleDropout(nn.Module):
    """Dropout whose mask is a function of (seed, epoch, layer, sample).

    Zeroes a fraction p of each sample's values in training and scales the others by 1 / (1 - p). Without a
    call of `seed_dropouts` it is torch's own dropout. Networks of torchvision and timm bring torch's dropout,
    whose masks depend on the step and on the other samples of the batch.
    Source: Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._seed = 0
        self._samples: npt.NDArray[np.int64] | None = None

    def set_batch(self, seed: int, samples: npt.NDArray[np.int64]) -> None:
        """Set the seed and the samples int64 (N,) of the next batch."""
        self._seed, self._samples = seed, samples

    def forward(self, features: Tensor) -> Tensor:
        """Return features float (N, ...), a fraction p of them set to 0."""
        if not self.training or self.p == 0:
            return features
        if self._samples is None:
            return functional.dropout(features, self.p)
        mask, kept_fraction = draw_mask(
            self._seed, samples=self._samples, num_values=features[0].numel(), fraction=1 - self.p
        )
        kept = send(torch.from_numpy(mask), features.device).reshape(features.shape)
        return features * kept / kept_fraction

    def extra_repr(self) -> str:
        """Return what repr shows between the brackets."""
        return f"p={self.p}"


def find_dropouts(network: nn.Module) -> list[SampleDropout]:
    """Return the network's SampleDropout layers, in the order of its modules."""
    return [module for module in network.modules() if isinstance(module, SampleDropout)]


def seed_dropouts(
    dropouts: Sequence[SampleDropout], *, seed: int, epoch: int, samples: npt.NDArray[np.int64]
) -> None:
    """Tell the dropout layers which samples int64 (N,) the next batch holds; each layer has its own seed."""
    for index, dropout in enumerate(dropouts):
        dropout.set_batch(derive_seed(seed, epoch, _DROPOUT + index), samples)
