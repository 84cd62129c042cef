"""Grad-CAM: which parts of an image a prediction is based on.

Source: Selvaraju et al. 2017, arXiv:1610.02391. It is defined for networks that end in convolutions. The map
is taken from the last feature map that no pooling layer made, before anything that mixes positions.
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
_MIN_SIDE = 4  # coarser, one position is a ninth of the image or more: an outline of it says nothing

Heatmap = NDArray[np.float32]


class GradCamUnavailable(Exception):
    """Grad-CAM does not apply to the network; the message says why, for the report."""


@dataclass(frozen=True)
class _Call:
    """One call of one module in a forward pass; a module may be called several times."""

    module: nn.Module
    number: int
    """How many calls of the module came before."""


def compute_heatmaps(network: nn.Module, images: Tensor, predicted: Tensor) -> list[Heatmap]:
    """Return for each image how much each position contributes to the predicted class.

    Runs in float32 on the CPU, a few images at a time, so that the same images give the same bits. Leaves the
    network there, in evaluation mode, with requires_grad off.

    Args:
        network: Gives logits (N, num_classes).
        images: float32 (N, C, H, W), N at least 1.
        predicted: int64 (N,), the class to explain for each image.

    Returns:
        float32 (h, w) for each image, of the feature map's size, from 0 to 1; all 0 if no position
        contributes.

    Raises:
        GradCamUnavailable: The network does not end in convolutions, or its last feature map is smaller than
            4 x 4.
    """
    network.to("cpu").eval().requires_grad_(False)
    target = _find_last_feature_map(network, images[:1])
    heatmaps: list[Heatmap] = []
    for some, classes in zip(
        torch.split(images, _BATCH_SIZE), torch.split(predicted, _BATCH_SIZE), strict=True
    ):
        features, gradients = _differentiate(network, target, some, classes)
        weights = gradients.mean(dim=(2, 3), keepdim=True)
        heat = torch.relu((weights * features).sum(dim=1))
        highest = heat.amax(dim=(1, 2), keepdim=True)
        heatmaps += list((heat / highest.where(highest > 0, 1.0)).numpy())
    return heatmaps


def _differentiate(
    network: nn.Module, target: _Call, images: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the feature maps (N, K, h, w), and the gradients of the classes' logits with respect to them."""
    calls: Counter[nn.Module] = Counter()
    features: list[Tensor] = []

    def start_graph_here(module: nn.Module, _: Any, output: Tensor) -> Tensor | None:
        calls[module] += 1
        if calls[module] - 1 != target.number:
            return None
        # The graph begins here: no layer before needs a gradient. Cloned, since a ReLU may follow in place.
        features.append(output.detach().requires_grad_().clone())
        return features[0]

    with torch.enable_grad(), _hooked([target.module], start_graph_here):
        logits = network(images)
        score = logits.gather(1, classes[:, None]).sum()
        if not score.requires_grad:
            raise GradCamUnavailable("the logits do not depend on its last feature map")
        (gradients,) = torch.autograd.grad(score, features[0])
    return features[0].detach().float(), gradients.float()


def _find_last_feature_map(network: nn.Module, image: Tensor) -> _Call:
    """Return the call that makes the last feature map (N, K, h, w), by a forward pass of one image."""
    calls: Counter[nn.Module] = Counter()
    found: _Call | None = None
    pooled: Tensor | None = None
    num_convolutions, obstacle, sides = 0, "", (0, 0)

    def inspect(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal found, pooled, num_convolutions, obstacle, sides
        call = _Call(module, calls[module])
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            num_convolutions, obstacle = num_convolutions + 1, ""
        elif _is_attention(module):
            obstacle = "its last layers are attention, which mixes all positions of the image"
        if not isinstance(output, Tensor):
            return
        if output.ndim == 3 and output.shape[1] > 1 and not isinstance(module, nn.Flatten):
            obstacle = obstacle or "it turns the image into a sequence of patches"
        if "Pool" in type(module).__name__:
            pooled = output
        # A container that ends in a pooling layer returns the very same tensor.
        elif output.ndim == 4 and output is not pooled and max(output.shape[2:]) > 1:
            found, sides = call, (output.shape[2], output.shape[3])

    with torch.no_grad(), _hooked(network.modules(), inspect):
        network(image)
    if num_convolutions == 0 or found is None:
        raise GradCamUnavailable("it has no feature map made by convolutions")
    if obstacle:
        raise GradCamUnavailable(obstacle)
    if min(sides) < _MIN_SIDE:
        height, width = sides
        raise GradCamUnavailable(f"its last feature map has only {height} × {width} positions")
    return found


def _is_attention(module: nn.Module) -> bool:
    """Tell attention between positions from attention made of convolutions, as in CBAM."""
    named = "attention" in type(module).__name__.lower()
    return named and not any(isinstance(part, nn.Conv2d) for part in module.modules())


@contextmanager
def _hooked(modules: Iterator[nn.Module] | Sequence[nn.Module], hook: Any) -> Iterator[None]:
    """Call a hook after each forward pass of the modules, within the block."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
