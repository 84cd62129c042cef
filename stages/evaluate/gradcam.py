"""Where in an image an answer comes from: Grad-CAM.

Source: Selvaraju et al. 2017, arXiv:1610.02391. It is defined for networks that end in convolutions: what is
mapped is the last feature map that no pooling made, before anything that mixes all places.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_BATCH_SIZE = 8

Heat = NDArray[np.float32]


class NotExplainedError(Exception):
    """Grad-CAM cannot apply to the network; the message says why, in words for the report."""


@dataclass(frozen=True)
class _Place:
    """One call of one module in a forward pass."""

    module: nn.Module
    call: int
    """How often the module was called before: a module may stand in several places."""


def explain_answers(network: nn.Module, images: Tensor, answers: Tensor) -> list[Heat]:
    """Return for each image how much every place of it speaks for its answer.

    Runs in float32 on the processor, a few images at a time, so that the same images give the same bits. The
    network ends up there, in evaluation mode, its weights without gradients.

    Args:
        network: Gives logits (N, num_classes).
        images: float32 (N, C, H, W), N at least 1.
        answers: int64 (N,), the class to explain for each image.

    Returns:
        float32 (h, w) for each image, as large as the feature map, from 0 to 1; all 0 if nothing speaks
        for the answer.

    Raises:
        NotExplainedError: The network does not end in convolutions.
    """
    network.to("cpu").eval().requires_grad_(False)
    place = _find_last_map(network, images[:1])
    maps: list[Heat] = []
    for some, wanted in zip(torch.split(images, _BATCH_SIZE), torch.split(answers, _BATCH_SIZE), strict=True):
        features, slopes = _differentiate(network, place, some, wanted)
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        heat = torch.relu((weights * features).sum(dim=1))
        highest = heat.amax(dim=(1, 2), keepdim=True)
        maps += list((heat / highest.where(highest > 0, 1.0)).numpy())
    return maps


def _differentiate(
    network: nn.Module, place: _Place, images: Tensor, answers: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the feature maps (N, K, h, w), and the slopes of the answers' logits with respect to them."""
    calls: Counter[nn.Module] = Counter()
    features: list[Tensor] = []

    def start_here(module: nn.Module, _: Any, output: Tensor) -> Tensor | None:
        calls[module] += 1
        if calls[module] - 1 != place.call:
            return None
        # Nothing before it needs a gradient. A copy, since what follows may write in place.
        features.append(output.detach().requires_grad_().clone())
        return features[0]

    with torch.enable_grad(), _hooked([place.module], start_here):
        logits = network(images)
        score = logits.gather(1, answers[:, None]).sum()
        if not score.requires_grad:
            raise NotExplainedError("its logits do not depend on its last feature map")
        (slopes,) = torch.autograd.grad(score, features[0])
    return features[0].detach().float(), slopes.float()


def _find_last_map(network: nn.Module, image: Tensor) -> _Place:
    """Return where the last feature map (N, K, h, w) is made in a forward pass of one image (1, C, H, W)."""
    calls: Counter[nn.Module] = Counter()
    found: _Place | None = None
    pooled: Tensor | None = None
    num_convolutions, obstacle = 0, ""

    def look(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal found, pooled, num_convolutions, obstacle
        place = _Place(module, calls[module])
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            num_convolutions, obstacle = num_convolutions + 1, ""
        elif _is_attention(module):
            obstacle = "it ends in attention, which mixes all places of an image"
        if not isinstance(output, Tensor):
            return
        if output.ndim == 3 and output.shape[1] > 1 and not isinstance(module, nn.Flatten):
            obstacle = obstacle or "it turns an image into a sequence of patches"
        if "Pool" in type(module).__name__:
            pooled = output
        # What holds a pooling layer last gives out the very same tensor.
        elif output.ndim == 4 and output is not pooled and max(output.shape[2:]) > 1:
            found = place

    with torch.no_grad(), _hooked(network.modules(), look):
        network(image)
    if num_convolutions == 0 or found is None:
        raise NotExplainedError("it has no feature map that convolutions made")
    if obstacle:
        raise NotExplainedError(obstacle)
    return found


def _is_attention(module: nn.Module) -> bool:
    """Tell attention between places from attention that convolutions make, as in CBAM."""
    named = "attention" in type(module).__name__.lower()
    return named and not any(isinstance(part, nn.Conv2d) for part in module.modules())


@contextmanager
def _hooked(modules: Iterator[nn.Module] | Sequence[nn.Module], hook: Any) -> Iterator[None]:
    """Have a hook called after each forward pass of the modules, within the block."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
