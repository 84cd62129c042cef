"""Random colours."""

from torch import Tensor

from stages.vision.transforms import pixels
from stages.vision.transforms.compose import around, stretch

_Range = float | tuple[float, float]


class ColorJitter:
    """Change brightness, contrast, saturation and hue by random amounts, in random order."""

    num_draws = 8
    """The four amounts, and four numbers whose order is that of the changes."""

    def __init__(
        self, *, brightness: _Range = 0.0, contrast: _Range = 0.0, saturation: _Range = 0.0, hue: _Range = 0.0
    ) -> None:
        self._limits = [
            *(_factors_around(value) for value in (brightness, contrast, saturation)),
            around(hue),
        ]

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        order = draws[:, 4:].argsort(dim=1)
        changed = images.clone()
        for turn in range(4):
            for change, limits in enumerate(self._limits):
                if limits == ((0.0, 0.0) if change == 3 else (1.0, 1.0)):
                    continue
                chosen = (order[:, turn] == change).nonzero().squeeze(1)
                if len(chosen):
                    amounts = stretch(draws[chosen, change], limits)
                    changed[chosen] = _CHANGES[change](changed[chosen], amounts)
        return changed


_CHANGES = (pixels.adjust_brightness, pixels.adjust_contrast, pixels.adjust_saturation, pixels.adjust_hue)


def _factors_around(value: _Range) -> tuple[float, float]:
    low, high = around(value, center=1.0)
    return max(0.0, low), high


class RandomGrayscale:
    """Take the colour away with probability p."""

    num_draws = 1

    def __init__(self, *, p: float = 0.1) -> None:
        self._p = p

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        chosen = (draws[:, 0] < self._p).nonzero().squeeze(1)
        changed = images.clone()
        changed[chosen] = pixels.to_grayscale(images[chosen])
        return changed
