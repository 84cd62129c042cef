"""Mirroring."""

from torch import Tensor


class AlternatingHorizontalFlip:
    """Mirror left and right in every other epoch, a random half of the images in the first."""

    num_draws = 1
    is_alternating = True

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return _mirror(images, draws[:, 0] < 0.5, dim=3)


class RandomHorizontalFlip:
    """Mirror left and right with probability p."""

    num_draws = 1

    def __init__(self, *, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return _mirror(images, draws[:, 0] < self._p, dim=3)


class RandomVerticalFlip:
    """Mirror top and bottom with probability p."""

    num_draws = 1

    def __init__(self, *, p: float = 0.5) -> None:
        self._p = p

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return _mirror(images, draws[:, 0] < self._p, dim=2)


def _mirror(images: Tensor, is_chosen: Tensor, *, dim: int) -> Tensor:
    chosen = is_chosen.nonzero().squeeze(1)
    mirrored = images.clone()
    mirrored[chosen] = images[chosen].flip(dim)
    return mirrored
