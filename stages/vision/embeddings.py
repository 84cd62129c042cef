"""Embeddings: what the layer takes that turns features into logits, one vector for every image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from stages.vision.pretrained import find_heads


@contextmanager
def capture_embeddings(network: nn.Module) -> Iterator[list[Tensor] | None]:
    """Yield a list to which every forward pass in the block appends embeddings float (N, num_features).

    They are the input of the head's last linear layer or convolution; a map of features is averaged over its
    positions. None is yielded where the network has several heads, or one without such a layer.
    """
    heads = list(find_heads(network).values())
    layers = [part for part in heads[-1].modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if len(heads) != 1 or not layers:
        yield None
        return
    captured: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        features: Tensor = arguments[0]
        if isinstance(module, nn.Conv2d):
            features = features.mean(dim=(2, 3))
        captured.append(features.flatten(1))

    handle = layers[-1].register_forward_pre_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()
