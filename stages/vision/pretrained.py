"""Pretrained weights: reading them, copying them into a network, and splitting the network into two parts.

The parts are the backbone, which turns images into features, and the head, which turns features into logits.
The head is the last child module that has parameters, as in the networks of torch, torchvision and timm. Some
of timm have several: children like the last one in class and shapes.
"""

import errno
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse_tensors
from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import PretrainedWeights
from schemas.vision.network import NO_WEIGHTS_FILE
from stages.shared.errors import InputError, describe_error, printable
from stages.vision.checkpoint import check_header_size
from stages.vision.torch_file import MAX_NAME, ForeignObject, NotWeights, TensorView, TorchFile

Weights = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Keys under which training scripts save weights, beside the optimizer and so on."""

MAX_CHARACTERS = 2**19
"""Of all names, which the checkpoint lists: 3,000 tensors have some 150,000."""

_MAX_WRAPPERS = 8
_MAX_DEPTH = 16
_SAVE_WEIGHTS = "save the weights alone: torch.save(model.state_dict(), ...)"

_OTHERS = {
    b"version https://git-lfs": "is what Git LFS left in place of the file; get it by: git lfs pull",
    b"\x1f\x8b": "is compressed by gzip",
    b"BZh": "is compressed by bzip2",
    b"\xfd7zXZ": "is compressed by xz",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd",
    b"7z\xbc\xaf": "is a 7z archive",
    b"\x89HDF": "is HDF5, as Keras writes it",
    b"GGUF": "is GGUF, which holds quantized weights",
    b"<": "is a web page or XML",
}
"""What is found in place of weights, by its first bytes."""

_COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a module, which may be any part of a network."""


def read_weights(path: Path) -> Weights:
    """Read the tensors of a file of safetensors or of torch.save, by its bytes; no code in it is run.

    Whatever the bytes are, this takes about the file's own size in memory and some seconds at most.

    Raises:
        InputError: The file is missing, damaged, or holds more than tensors.
    """
    place = f"network.weights_file: {printable(str(path))}"
    if not path.exists():
        raise InputError(f"{place}: there is no such file; for random weights set {NO_WEIGHTS_FILE}")
    if not path.is_file():
        raise InputError(f"{place}: is a folder or a device; allowed: a file of weights")
    try:
        with path.open("rb") as file:
            start = file.read(512)
        # safetensors begin with 8 bytes of length, then JSON; torch writes a zip archive, or a pickle.
        if start[8:9] == b"{":
            weights = _read_safetensors(path)
        elif other := _name_other_content(start):
            raise NotWeights(other)
        else:
            weights = _read_torch_file(path)
        num_characters = sum(len(printable(name)) for name in weights)
        if num_characters > MAX_CHARACTERS:
            raise ValueError(f"{num_characters:,} characters of names; allowed: {MAX_CHARACTERS:,}")
        return weights
    except ForeignObject as error:
        raise InputError(
            f"{place}: holds Python objects beside tensors, such as {describe_error(error)}, which are never "
            f"unpickled; {_SAVE_WEIGHTS}"
        ) from None
    except NotWeights as error:
        raise InputError(f"{place}: {describe_error(error)}; {_SAVE_WEIGHTS}") from None
    except Exception as error:  # any bytes may come, and all of this reads them: what it meets is their fault
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # the disk's; EINVAL is the answer to an offset that the file names
        raise InputError(f"{place}: is damaged, or not a file of weights ({describe_error(error)})") from None


def _name_other_content(start: bytes) -> str:
    """Return what a file is that holds something else in place of weights, as far as its first bytes tell."""
    if not start:
        return "is empty"
    for magic, content in _OTHERS.items():
        if start.startswith(magic):
            return content
    return "is a tar archive" if start[257:262] == b"ustar" else ""


def _read_safetensors(path: Path) -> Weights:
    data = path.read_bytes()
    check_header_size(data)
    return {name: tensor for name, tensor in parse_tensors(data).items() if len(name) <= MAX_NAME}


def _read_torch_file(path: Path) -> Weights:
    with path.open("rb") as file:
        saved = TorchFile(file)
        return {name: saved.load(view) for name, view in _unwrap(saved.content).items()}


def _unwrap(content: object) -> dict[str, TensorView]:
    """Return the tensors by name of what torch.save wrote, without what was saved beside them."""
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(content, dict):
            break
        wrapped = (content[key] for key in _WRAPPERS if isinstance(content.get(key), dict))
        inner = next(wrapped, None)
        if inner is None:
            break
        content = inner
    entries = content if isinstance(content, dict) else {}
    # Beside tensors, a module may save an extra state of any kind.
    weights = {name: view for name, view in entries.items() if isinstance(view, TensorView)}
    if not weights:
        keys = f" (found: {', '.join(list(entries)[:20])})" if entries else ""
        raise NotWeights(f"holds no weights by name{keys}")
    return weights


def name_as_in(network: nn.Module, weights: Weights) -> tuple[Weights, str]:
    """Return weights without what wrappers put before their names, and what that was.

    DataParallel, Lightning, averaged models and one's own modules put `module.`, `model.` and the like before
    every name, one after another. The prefix is the one under which most tensors have a name and shape of the
    network. Tensors without it, such as those of a loss or a metric, keep their names.
    """
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    weights = {name.replace(_COMPILED, ""): tensor for name, tensor in weights.items()}
    num_fitting: Counter[str] = Counter({"": 0})
    for name, tensor in weights.items():
        parts = name.split(".")
        for depth in range(min(len(parts), _MAX_DEPTH)):
            if own.get(".".join(parts[depth:])) == tensor.shape:
                num_fitting["".join(f"{part}." for part in parts[:depth])] += 1
    ((prefix, _),) = num_fitting.most_common(1)  # the first of equals
    # What has the prefix goes last: it is what counts where another tensor has its name already.
    renamed = sorted(weights.items(), key=lambda item: item[0].startswith(prefix))
    return {name.removeprefix(prefix): tensor for name, tensor in renamed}, prefix


def load_matching_weights(
    network: nn.Module, weights: Weights, *, source: str, sha256: str, resized: Sequence[str] = ()
) -> PretrainedWeights:
    """Copy into the network every tensor whose name and shape match, and report the others.

    A convolution for three channels is summed over them where the network takes one. A grayscale image then
    gives the logits that it would give with its channel repeated three times.

    Args:
        network: Changed in place.
        weights: Of any floating dtype; converted to the network's.
        source: Where they come from, for messages and the checkpoint.
        sha256: Of the weights.
        resized: Names of those that were fitted to the size of the images, for the checkpoint.

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
        if tensor.shape != target.shape or tensor.is_complex() != target.is_complex():
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
        resized=tuple(sorted(resized)),
        summed=tuple(sorted(summed)),
        other_shape=tuple(sorted(other_shape)),
        only_in_network=tuple(sorted(own.keys() - weights.keys())),
        only_in_weights=tuple(sorted(map(printable, weights.keys() - own.keys()))),
    )


def find_heads(network: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that turn features into logits, by name: the last child, and those like it.

    DeiT and LeViT of timm have two, of which one learns from a teacher; the logits are their mean.
    """
    children = {
        name: child for name, child in network.named_children() if next(child.parameters(), None) is not None
    }
    last = _describe_module(list(children.values())[-1])
    return {name: child for name, child in children.items() if _describe_module(child) == last}


def _describe_module(module: nn.Module) -> tuple[object, ...]:
    return type(module), *((name, parameter.shape) for name, parameter in module.named_parameters())


def reset_heads(network: nn.Module) -> None:
    """Start the last layer of every head as torch does: uniformly in 1 over the root of its inputs, or less.

    Some libraries start it as if for training from scratch on a thousand classes. With two classes, the
    EfficientNets of timm and torchvision draw from 0.71 around 0, 25 times as much as torch, and a head on
    frozen features has not recovered from that in ten epochs; docs/decisions/046-new-heads.md.

    Args:
        network: Changed in place.
    """
    for layer in find_output_layers(network).values():
        layer.reset_parameters()


def find_output_layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the last linear layer or convolution of every head that has one, by name."""
    layers = {}
    for head_name, head in find_heads(network).items():
        parts = {
            f"{head_name}.{name}".rstrip("."): part
            for name, part in head.named_modules()
            if isinstance(part, nn.Linear | nn.Conv2d)
        }
        if parts:
            name, layer = parts.popitem()
            layers[name] = layer
    return layers


def select_backbone(network: nn.Module) -> Weights:
    """Return all weights and buffers but those of the layers that give the logits, which are always new."""
    outputs = tuple(f"{name}." for name in find_output_layers(network))
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(outputs)}


def find_head(network: nn.Module) -> nn.Module:
    """Return the module that turns features into logits, in a network that has one."""
    (head,) = find_heads(network).values()
    return head


def set_backbone_trainable(network: nn.Module, is_trainable: bool) -> None:
    """Compute gradients for the whole network, or for its heads alone."""
    in_heads = {parameter for head in find_heads(network).values() for parameter in head.parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(is_trainable or parameter in in_heads)


class FrozenBackbone(nn.Module):
    """A network in training whose backbone stays in evaluation mode.

    `set_backbone_trainable` stops the gradients. That is not enough: batch norm would still update its
    running statistics and dropout would still drop, so an image's features would change from step to step.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Set the mode of the heads; the backbone is always in evaluation mode."""
        self.training = mode
        self.network.eval()
        for head in find_heads(self.network).values():
            head.train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for images (N, C, H, W)."""
        logits: Tensor = self.network(images)
        return logits


class FrozenStatistics(nn.Module):
    """A network in training, with the batch norm of its backbone in evaluation mode.

    The weights of a pretrained backbone fit the statistics that they were trained with. Those of small
    batches of other, augmented images are far off, and few steps do not mend that;
    docs/decisions/050-batch-norm-in-fine-tuning.md has the measurements.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "FrozenStatistics":
        """Set the mode of all but the backbone's batch norm, which is always in evaluation mode."""
        self.training = mode
        self.network.train(mode)
        in_heads = {part for head in find_heads(self.network).values() for part in head.modules()}
        for part in self.network.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part not in in_heads:
                part.eval()
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
