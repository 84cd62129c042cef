"""Checkpoints: weights as safetensors, all else as a checked JSON document in it. Nothing is unpickled."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialize_tensors
from torch import Tensor, nn

from schemas.vision.checkpoint import Checkpoint
from schemas.vision.transforms import image_after
from stages.shared.errors import InputError
from stages.shared.files import publish_file
from stages.shared.paths import MAKE_MODEL
from stages.vision.checkpoint_document import read_document
from stages.vision.networks import build_network


def write_checkpoint(path: Path, checkpoint: Checkpoint, weights: dict[str, Tensor]) -> None:
    """Write a checkpoint whole; the same weights and document always give the same bytes."""
    document = checkpoint.model_dump_json()
    envelope = {"document": document, "sha256": hashlib.sha256(document.encode()).hexdigest()}
    # One metadata key only: safetensors writes several in no fixed order.
    data = serialize_tensors(_on_processor(weights), metadata={"darkroom": json.dumps(envelope)})
    with publish_file(path) as partial:
        partial.write_bytes(data)


def read_checkpoint(path: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    """Read a checkpoint and check every byte of it.

    Returns:
        The document and the weights, on the processor.

    Raises:
        InputError: The file is missing, no darkroom checkpoint, damaged, or of another version.
    """
    checkpoint, data = read_document(path)
    return checkpoint, take_weights(data, checkpoint, path=path)


def take_weights(data: bytes, checkpoint: Checkpoint, *, path: Path) -> dict[str, Tensor]:
    """Return the weights, on the processor, of the file that `read_document` gave.

    Raises:
        InputError: They are damaged.
    """
    try:
        weights = parse_tensors(data)
    except SafetensorError as error:
        raise InputError(f"{path}: is no darkroom checkpoint, or is damaged ({error})") from None
    if hash_weights(weights) != checkpoint.weights_sha256:
        raise InputError(f"{path}: is damaged (its weights do not have their recorded SHA-256)")
    return weights


def restore_network(checkpoint: Checkpoint, weights: dict[str, Tensor]) -> nn.Module:
    """Return the checkpoint's network with its weights, on the processor, in channels_last memory.

    Raises:
        InputError: The code of the network is no longer that of the checkpoint.
    """
    image = image_after(checkpoint.image, checkpoint.preprocessing)
    network = build_network(checkpoint.network, image=image, num_classes=len(checkpoint.classes))
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise InputError(
            f"the checkpoint's weights do not fit the network {checkpoint.network.name} as its code is now; "
            f"train anew with: {MAKE_MODEL}"
        ) from None
    return network.to(memory_format=torch.channels_last)


def hash_weights(weights: dict[str, Tensor]) -> str:
    """Return one SHA-256 over names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_on_processor(weights).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _on_processor(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
