"""Dropout that draws for each sample, so that processes sharing a batch draw what one process would.

Networks of torchvision and timm bring their own dropout, which draws for a step: the same on every run and
after a resume, but another for another share of the batch.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.vision.draws import derive_seed, draw_mask

_FOR_DROPOUT = 2**32  # apart from the places of transforms, which are few


class SampleDropout(nn.Module):
    """Drop a share p of each sample's values in training, and enlarge the rest to make up for it.

    Source: Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html. Which values is a function of what
    `draw_dropout` named last; before that it is torch's own dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._seed = 0
        self._samples: npt.NDArray[np.int64] | None = None

    def choose(self, seed: int, samples: npt.NDArray[np.int64]) -> None:
        """Say which samples int64 (N,) the next batch holds, and the seed of their draws."""
        self._seed, self._samples = seed, samples

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, ...) with the share p of them 0."""
        if not self.training or self.p == 0:
            return features
        if self._samples is None:
            return functional.dropout(features, self.p)
        mask, kept_fraction = draw_mask(
            self._seed, samples=self._samples, num_values=features[0].numel(), fraction=1 - self.p
        )
        kept = torch.from_numpy(mask).to(features.device).reshape(features.shape)
        return features * kept / kept_fraction

    def extra_repr(self) -> str:
        """Return what repr shows between the brackets."""
        return f"p={self.p}"


def find_dropouts(network: nn.Module) -> list[SampleDropout]:
    """Return the network's dropouts that draw for each sample, in the order of its modules."""
    return [module for module in network.modules() if isinstance(module, SampleDropout)]


def draw_dropout(
    dropouts: Sequence[SampleDropout], *, seed: int, epoch: int, samples: npt.NDArray[np.int64]
) -> None:
    """Have dropouts draw for the samples int64 (N,) of the next batch; each draws for itself."""
    for place, dropout in enumerate(dropouts):
        dropout.choose(derive_seed(seed, epoch, _FOR_DROPOUT + place), samples)
