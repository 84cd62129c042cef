"""A training state as a file: tensors as safetensors, all else as JSON in its header.

Nothing is unpickled, as torch.load would. safetensors holds a flat mapping of names to tensors, so the nested
state is flattened into JSON in which numbers stand for tensors; one SHA-256 over both finds any damage.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from safetensors.torch import save_file
from torch import Tensor

from stages.shared.errors import describe_error
from stages.shared.files import publish_file
from stages.train.state import StateDict
from stages.vision.checkpoint import hash_weights

_MAX_SPREAD = 64
"""How many times its own size a tensor may take, by strides that leave gaps."""


class DamagedState(ValueError):
    """The file is not as it was written."""


def write_state(path: Path, state: StateDict) -> None:
    """Write a state, all of it or nothing.

    Raises:
        OSError: The disk is full, or fails.
    """
    tensors, metadata = _prepare(state)
    with publish_file(path) as partial:
        try:
            save_file(tensors, partial, metadata=metadata)
        except SafetensorError as error:  # which it also raises for a full disk
            raise OSError(str(error)) from None


def read_state(path: Path) -> StateDict:
    """Read a state, its tensors on the CPU with the strides they had.

    Raises:
        DamagedState: The file is not as it was written.
        OSError: It cannot be read.
    """
    return parse_state(path.read_bytes())


def dump_state(state: StateDict) -> bytes:
    """Return the bytes that `write_state` writes."""
    return dump_tensors(*_prepare(state))


def parse_state(data: bytes) -> StateDict:
    """Return the state that a file's bytes hold, as `read_state` does.

    Raises:
        DamagedState: They are not as they were written.
    """
    try:
        tensors = parse_tensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        envelope = json.loads(header["__metadata__"]["darkroom"])
        document, sha256 = envelope["document"], envelope["sha256"]
        if _hash(document, tensors) != sha256:
            raise DamagedState("it does not have its recorded SHA-256")
        state: StateDict = _unflatten(json.loads(document), tensors)
    except DamagedState:
        raise
    except Exception as error:  # any bytes may come, and this only reads them
        raise DamagedState(describe_error(error)) from None
    return state


def _prepare(state: StateDict) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a state's file."""
    tensors: dict[str, Tensor] = {}
    document = json.dumps(_flatten(state, tensors))
    envelope = {"document": document, "sha256": _hash(document, tensors)}
    return tensors, {"darkroom": json.dumps(envelope)}


def _hash(document: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(f"{hash_weights(tensors)}\n{document}".encode()).hexdigest()


def _flatten(value: object, tensors: dict[str, Tensor]) -> object:
    """Return a value as [kind, content], which JSON can hold, and put its tensors into `tensors`."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):06}"
        # Always a copy, for safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return ["tensor", [name, list(value.stride())]]
    if isinstance(value, dict):
        return ["dict", [[_flatten(key, tensors), _flatten(item, tensors)] for key, item in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_flatten(item, tensors) for item in value]]
    assert value is None or isinstance(value, bool | int | float | str), f"{type(value)} cannot be saved"
    return ["plain", value]


def _unflatten(flat: Any, tensors: dict[str, Tensor]) -> Any:
    kind, content = flat
    if kind == "tensor":
        name, strides = content
        stored = tensors[name]
        extent = 1 + sum((n - 1) * stride for n, stride in zip(stored.shape, strides, strict=True))
        if extent > _MAX_SPREAD * max(stored.numel(), 1):
            raise ValueError("a tensor's strides spread it over more memory than any state of training has")
        # Elementwise arithmetic goes another way over other strides, which would change last bits, and fused
        # optimizers need a state with the strides of its weight.
        return torch.empty_strided(stored.shape, strides, dtype=stored.dtype).copy_(stored)
    if kind == "dict":
        return {_unflatten(key, tensors): _unflatten(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        items = [_unflatten(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    return content
