"""Pretrained weights: reading them, copying them into a network, and splitting the network into two parts.

The parts are the backbone, which turns images into features, and the head, which turns features into logits.
The head is the last child module that has parameters, as in the networks of torch, torchvision and timm.
"""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import PretrainedWeights
from stages.shared.errors import InputError, printable

Weights = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts save weights, beside the optimizer and so on."""

_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def read_weights(path: Path) -> Weights:
    """Read the tensors of a .safetensors, .pth or .pt file; no code in it is run.

    Raises:
        InputError: The file is missing, damaged, or holds more than tensors.
    """
    place = f"network.weights_file: {path}"
    try:
        if path.suffix == ".safetensors":
            return parse_tensors(path.read_bytes())
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{place}: there is no such file") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{place}: is damaged, or holds Python objects beside tensors, which are never unpickled; "
            "save the weights alone: torch.save(model.state_dict(), ...)"
        ) from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = printable((str(error) or type(error).__name__).splitlines()[0])
        raise InputError(f"{place}: is damaged, or not a file of weights ({reason})") from None
    return _unwrap(loaded, place=place)


def _unwrap(loaded: object, *, place: str) -> Weights:
    """Return the tensors by name from what torch.load returned, without wrappers and prefixes."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise InputError(
            f"{place}: holds no weights by name; save them as: torch.save(model.state_dict(), ...)"
        )
    weights = {str(name): tensor for name, tensor in loaded.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def load_matching_weights(
    network: nn.Module, weights: Weights, *, source: str, sha256: str
) -> PretrainedWeights:
    """Copy into the network every tensor whose name and shape match, and report the others.

    A convolution for three channels is summed over them where the network takes one. A grayscale image then
    gives the logits that it would give with its channel repeated three times.

    Args:
        network: Changed in place.
        weights: Of any floating dtype; converted to the network's.
        source: Where they come from, for messages and the checkpoint.
        sha256: Of the weights.

    Raises:
        InputError: Nothing matches: the weights belong to another network.
    """
    own = network.state_dict()
    summed, other_shape, num_loaded = [], [], 0
    for name in own.keys() & weights.keys():
        tensor, target = weights[name], own[name]
        if tensor.dim() == 4 and target.shape == (len(tensor), 1, *tensor.shape[2:]) and tensor.shape[1] == 3:
            tensor = tensor.sum(dim=1, keepdim=True)
            summed.append(name)
        if tensor.shape != target.shape:
            other_shape.append(name)
            continue
        target.copy_(tensor)  # state_dict shares the network's memory
        num_loaded += 1
    if num_loaded == 0:
        raise InputError(
            f"{source}: none of its {len(weights)} tensors fits the network, whose first is "
            f"{next(iter(own))}; its first is {printable(min(weights, default='missing'))}; "
            "choose the network that the weights were trained in"
        )
    return PretrainedWeights(
        source=source,
        sha256=sha256,
        num_loaded=num_loaded,
        summed=tuple(sorted(summed)),
        other_shape=tuple(sorted(other_shape)),
        only_in_network=tuple(sorted(own.keys() - weights.keys())),
        only_in_weights=tuple(sorted(map(printable, weights.keys() - own.keys()))),
    )


def find_head(network: nn.Module) -> nn.Module:
    """Return the module that turns features into logits."""
    return [child for child in network.children() if next(child.parameters(), None) is not None][-1]


def set_backbone_trainable(network: nn.Module, is_trainable: bool) -> None:
    """Compute gradients for the whole network, or for its head alone."""
    head_parameters = set(find_head(network).parameters())
    for parameter in network.parameters():
        parameter.requires_grad_(is_trainable or parameter in head_parameters)


class FrozenBackbone(nn.Module):
    """A network in training whose backbone stays in evaluation mode.

    `set_backbone_trainable` stops the gradients. That is not enough: batch norm would still update its
    running statistics and dropout would still drop, so an image's features would change from step to step.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Set the mode of the head; the backbone is always in evaluation mode."""
        self.training = mode
        self.network.eval()
        find_head(self.network).train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        logits: Tensor = self.network(images)
        return logits


class HeadOnFeatures(nn.Module):
    """A network's head alone, for features that its backbone computed earlier."""

    def __init__(self, network: nn.Module, *, feature_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head = find_head(network)
        self._feature_shape = feature_shape

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, num_classes) for features (N, num_values, 1, 1), which is a batch's shape."""
        logits: Tensor = self.head(features.reshape(len(features), *self._feature_shape))
        return logits.flatten(1)


@contextmanager
def capture_features(network: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list to which every forward pass in the block appends the head's input."""
    captured: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        captured.extend(argument for argument in arguments if isinstance(argument, Tensor))

    handle = find_head(network).register_forward_pre_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()


@torch.inference_mode()
def check_head(network: nn.Module, *, image: ImageForm, device: torch.device) -> None:
    """Check that the head alone turns captured features into the network's logits.

    Nothing in torch says which module is the head, so two random images are sent through both. It fails for a
    network that changes its logits after the last module, or whose last module is used twice or takes two
    inputs.

    Raises:
        InputError: It does not, so the backbone cannot be frozen.
    """
    images = torch.rand(2, image.num_channels, image.height_px, image.width_px, device=device)
    with capture_features(network.eval()) as captured:
        logits = network(images)
    if len(captured) == 1 and len(captured[0]) == 2:
        head = HeadOnFeatures(network, feature_shape=tuple(captured[0].shape[1:]))
        if torch.allclose(head(captured[0]), logits, atol=1e-5):
            return
    raise InputError(
        "transfer.freeze: found backbone, but the last module of this network does not compute its logits "
        "alone; set transfer.freeze to train everything, or choose another network"
    )
