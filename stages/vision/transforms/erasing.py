"""Random erasing."""

import math
from typing import Literal

import torch
from torch import Tensor

from stages.vision.transforms.compose import seed_from

_MAX_TRIES = 10


class RandomErasing:
    """Overwrite a random rectangle with probability p.

    Source: Zhong et al. 2017, arXiv:1708.04896.
    """

    num_draws = 2 * _MAX_TRIES + 4
    """Area and shape of each try, the place, whether at all, and the seed of the noise."""

    def __init__(
        self,
        *,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | tuple[float, ...] | Literal["random"] = 0.0,
    ) -> None:
        self._p = p
        self._scale, self._ratio = scale, ratio
        self._value = value

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        channels, height, width = images.shape[1:]
        erased = images.clone()
        windows, found = self.choose_windows(draws, height=height, width=width)
        chosen = (found & (draws[:, -2] < self._p)).nonzero().squeeze(1)
        for image, (top, left, rows, columns) in zip(chosen.tolist(), windows[chosen].tolist(), strict=True):
            window = erased[image, :, top : top + rows, left : left + columns]
            if self._value == "random":
                generator = torch.Generator().manual_seed(seed_from(float(draws[image, -1])))
                window[:] = torch.randn(channels, rows, columns, generator=generator)
            else:
                window[:] = torch.tensor(self._value, dtype=images.dtype).view(-1, 1, 1)
        return erased

    def choose_windows(self, draws: Tensor, *, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return top, left, height, width as torchvision chooses them, int64 (N, 4), and which fit, (N,)."""
        low, high = math.log(self._ratio[0]), math.log(self._ratio[1])
        areas = height * width * (self._scale[0] + draws[:, 0:-4:2] * (self._scale[1] - self._scale[0]))
        ratios = (low + draws[:, 1:-4:2] * (high - low)).exp()
        rows, columns = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (rows < height) & (columns < width)
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
        sides = torch.cat([rows.gather(1, first), columns.gather(1, first)], dim=1)
        corners = (draws[:, -4:-2] * (torch.tensor([height, width]) - sides + 1)).floor()
        return torch.cat([corners, sides], dim=1).long(), fits.any(dim=1)
