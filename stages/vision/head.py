"""A network as backbone and head: what makes features of images, and what makes logits of features.

The head is the last child module that has weights, as networks of torch, torchvision and timm are written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from schemas.shared.image import ImageForm
from stages.shared.errors import InputError


def find_head(network: nn.Module) -> nn.Module:
    """Return the module that turns features into logits."""
    return [child for child in network.children() if next(child.parameters(), None) is not None][-1]


class FrozenBackbone(nn.Module):
    """A network whose backbone keeps its weights and batch-norm statistics, and drops nothing, in training.

    Only while it is in training mode do gradients stop at the head.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Put the head into training mode, or back into evaluation; the backbone always evaluates."""
        self.training = mode
        self.network.eval()
        find_head(self.network).train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        logits: Tensor = self.network(images)
        return logits


class HeadOnFeatures(nn.Module):
    """A network's head alone, on features that its backbone computed before."""

    def __init__(self, network: nn.Module, *, feature_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head = find_head(network)
        self._feature_shape = feature_shape

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, num_classes) for features (N, values, 1, 1), flattened as batches of images."""
        logits: Tensor = self.head(features.reshape(len(features), *self._feature_shape))
        return logits.flatten(1)


def set_backbone_trainable(network: nn.Module, is_trainable: bool) -> None:
    """Have gradients computed for all of a network, or for its head alone."""
    of_head = set(find_head(network).parameters())
    for parameter in network.parameters():
        parameter.requires_grad_(is_trainable or parameter in of_head)


@contextmanager
def capture_features(network: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that gets the features of every batch that the network answers meanwhile."""
    captured: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        captured.extend(argument for argument in arguments if isinstance(argument, Tensor))

    handle = find_head(network).register_forward_pre_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()


@torch.inference_mode()
def refuse_headless(network: nn.Module, *, image: ImageForm, device: torch.device) -> None:
    """Try whether the head alone turns features into the network's logits.

    Raises:
        InputError: It does not, so a frozen backbone cannot be told from it.
    """
    images = torch.rand(2, image.num_channels, image.height_px, image.width_px, device=device)
    with capture_features(network.eval()) as captured:
        logits = network(images)
    if len(captured) != 1 or len(captured[0]) != 2:
        is_split = False
    else:
        head = HeadOnFeatures(network, feature_shape=tuple(captured[0].shape[1:]))
        is_split = torch.allclose(head(captured[0]), logits, atol=1e-5)
    if not is_split:
        raise InputError(
            "transfer.freeze: found backbone, but the last module of this network does not make its logits "
            "by itself; set transfer.freeze: none, or choose another network"
        )
