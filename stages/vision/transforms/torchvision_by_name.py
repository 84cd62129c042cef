"""torchvision's own transforms, image by image."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from schemas.vision.transforms.torchvision_by_name import SIGNATURES
from stages.shared.errors import InputError
from stages.shared.text import printable
from stages.vision.transforms.compose import seed_from


class TorchvisionTransform:
    """A transform of torchvision.transforms.v2, with random numbers of its own for each image."""

    num_draws = 1

    def __init__(self, name: str, **arguments: Any) -> None:
        self._name = name
        # Only when it is named: torchvision takes seconds to import.
        from torchvision.transforms import v2

        given = {key: None if value == "none" else value for key, value in arguments.items()}
        if name == "AutoAugment":
            given["policy"] = _call(name, v2.AutoAugmentPolicy, given["policy"])
        self._transform = _call(name, getattr(v2, name), **given)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        changed = []
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later torchvision will lack: ours is pinned
            for image, draw in zip(images, draws[:, 0].tolist(), strict=True):
                torch.manual_seed(seed_from(draw))
                one = _call(self._name, self._transform, image.contiguous())
                if one.shape != image.shape or one.dtype != image.dtype:
                    raise InputError(
                        f"params.yaml: transforms: {self._name}: makes {one.dtype} {tuple(one.shape)} of "
                        f"{image.dtype} {tuple(image.shape)}; allowed: transforms that keep type and shape"
                    )
                changed.append(one)
        return torch.stack(changed).contiguous(memory_format=torch.channels_last)


def _call(name: str, function: Callable[..., Any], *values: Any, **arguments: Any) -> Any:
    """Return what torchvision makes of the arguments.

    Raises:
        InputError: It refuses them.
    """
    try:
        return function(*values, **arguments)
    except Exception as error:
        reason = printable(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise InputError(
            f"params.yaml: transforms: {name}: torchvision refuses it: {reason}; "
            "change its arguments or place"
        ) from None


def __getattr__(name: str) -> Callable[..., TorchvisionTransform]:
    if name in SIGNATURES:
        return partial(TorchvisionTransform, name)
    raise AttributeError(name)
