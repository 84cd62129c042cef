"""Weights that were trained before, laid over a new network: from a file, or as a library gives them."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor, nn

from schemas.vision.initial_weights import InitialWeights
from stages.shared.errors import InputError
from stages.shared.text import printable

Weights = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""What training scripts keep weights under, beside the optimizer and so on."""

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
        raise InputError(f"{place}: is damaged, or no file of weights ({reason})") from None
    return _unwrap(loaded, place=place)


def _unwrap(loaded: object, *, place: str) -> Weights:
    """Return the names and tensors in what torch.load gave, without wrappers and prefixes."""
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


def lay_over(network: nn.Module, weights: Weights, *, source: str, sha256: str) -> InitialWeights:
    """Copy into the network every tensor whose name and shape fit, and say which did not.

    A convolution's kernels for three channels are summed into one where the network takes one: a grayscale
    image gets the answer that it would get with its channel repeated three times.

    Args:
        network: Changed in place.
        weights: Any floating type; taken over as the network's.
        source: Where they are from, for messages and the checkpoint.
        sha256: Of the weights.

    Raises:
        InputError: Nothing fits: they are those of another network.
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
        target.copy_(tensor)
        num_loaded += 1
    if num_loaded == 0:
        raise InputError(
            f"{source}: none of its {len(weights)} tensors fits the network, whose first is "
            f"{next(iter(own))}; its first is {printable(min(weights, default='missing'))}; "
            "choose the network that the weights were trained in"
        )
    return InitialWeights(
        source=source,
        sha256=sha256,
        num_loaded=num_loaded,
        summed=tuple(sorted(summed)),
        other_shape=tuple(sorted(other_shape)),
        only_in_network=tuple(sorted(own.keys() - weights.keys())),
        only_in_weights=tuple(sorted(map(printable, weights.keys() - own.keys()))),
    )
