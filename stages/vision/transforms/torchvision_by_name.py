"""torchvision's own transforms, applied image by image."""

import warnings
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import torch

from schemas.vision.transforms.torchvision_by_name import SIGNATURES
from stages.shared.errors import InputError, printable
from stages.vision.rng import seed_from_uniform
from stages.vision.transforms.functional import Floats, Image

_USING_TORCH_RNG = Lock()
"""torch has one generator for all threads."""


class TorchvisionTransform:
    """A transform of torchvision.transforms.v2, with its own random numbers for each image."""

    num_uniforms = 1
    """The seed of each image's own random numbers."""

    def __init__(self, name: str, **arguments: Any) -> None:
        self._name = name
        # Here, because torchvision takes seconds to import and most lists do not need it.
        from torchvision.transforms import v2

        if name == "AutoAugment":
            arguments["policy"] = _call(name, v2.AutoAugmentPolicy, arguments["policy"])
        self._transform = _call(name, getattr(v2, name), **arguments)

    def change_block(self, images: Image, uniforms: Floats) -> Image:
        changed = []
        with _USING_TORCH_RNG, torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations, which do not matter: torchvision is pinned
            for pixels, uniform in zip(images, uniforms[:, 0].tolist(), strict=True):
                # The only generator it uses. torch.manual_seed would reseed a GPU's too, for each image.
                torch.default_generator.manual_seed(seed_from_uniform(uniform))
                image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()
                one = _call(self._name, self._transform, image)
                if one.shape != image.shape or one.dtype != image.dtype:
                    raise InputError(
                        f"params.yaml: transforms: {self._name}: makes {one.dtype} {tuple(one.shape)} of "
                        f"{image.dtype} {tuple(image.shape)}; allowed: transforms that keep type and shape"
                    )
                changed.append(one.permute(1, 2, 0).numpy())
        return np.stack(changed)


def _call(name: str, function: Callable[..., Any], *values: Any, **arguments: Any) -> Any:
    """Call torchvision.

    Raises:
        InputError: It raises an exception; any kind, for each transform checks its arguments in its own way.
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
