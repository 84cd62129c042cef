"""Checkpoint files: weights as safetensors, all else as JSON that a schema checks. Nothing is unpickled.

The JSON document is in the file's header, beside its own SHA-256, and records the SHA-256 of the weights. So
every byte is checked when a checkpoint is read.

`read_document` needs no torch, whose import takes seconds: prediction decodes its first images meanwhile. So
the functions that handle tensors import it themselves.
"""

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from schemas.shared.fields import Schema
from schemas.vision.checkpoint import CHECKPOINT_VERSION, Checkpoint
from schemas.vision.transforms import image_after
from stages.shared.errors import InputError, describe_error, shorten
from stages.shared.files import MEND, first_error, publish_file
from stages.shared.paths import MAKE_MODEL

MAX_HEADER_BYTES = 8 * 2**20
"""Of the names of tensors and the document: those of 2,000 tensors and 20,000 classes have 2 MB."""

MAX_OWN_PARAMETERS = 2**24
"""Numbers a network may have while it is built, beside twice those of its file: it may replace layers."""

if TYPE_CHECKING:
    from torch import Tensor, nn

_MEND = f"{MEND}; {MAKE_MODEL}"
_SchemaT = TypeVar("_SchemaT", bound=Schema)


def write_checkpoint(path: Path, checkpoint: Checkpoint, weights: dict[str, "Tensor"]) -> None:
    """Write a checkpoint atomically; the same weights and document always give the same bytes.

    Raises:
        InputError: Its header is too long for `read_checkpoint`, as that of a million classes.
    """
    from safetensors.torch import save as serialize_tensors

    # Only one metadata key, because safetensors writes several in random order.
    data = serialize_tensors(_move_to_cpu(weights), metadata={"darkroom": seal(checkpoint)})
    try:
        check_header_size(data)
    except ValueError as error:
        raise InputError(f"{path}: {error}; give classes shorter names, or have fewer") from None
    with publish_file(path) as partial:
        partial.write_bytes(data)


def read_checkpoint(path: Path) -> tuple[Checkpoint, dict[str, "Tensor"]]:
    """Read a checkpoint and check every byte of it.

    Returns:
        The document and the weights, on the CPU.

    Raises:
        InputError: The file is missing, damaged, of another version, or not a darkroom checkpoint.
    """
    checkpoint, data = read_document(path)
    return checkpoint, parse_weights(data, checkpoint, path=path)


def read_document(path: Path) -> tuple[Checkpoint, bytes]:
    """Read a checkpoint and check its document, not its weights.

    Returns:
        The document, and the bytes of the whole file for `parse_weights`.

    Raises:
        InputError: The file is missing, damaged, of another version, or not a darkroom checkpoint.
    """
    return read_sealed_file(
        path,
        Checkpoint,
        find_envelope=_find_envelope,
        kind="checkpoint",
        version=CHECKPOINT_VERSION,
        made_by=MAKE_MODEL,
    )


def _find_envelope(data: bytes) -> str:
    check_header_size(data)
    # safetensors: 8 bytes of length, a JSON header of that length, then the tensors.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return str(header["__metadata__"]["darkroom"])


def seal(document: Schema) -> str:
    """Return the document of a model file beside its own SHA-256, for `read_sealed_file` to find there."""
    text = document.model_dump_json()
    return json.dumps({"document": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def read_sealed_file(
    path: Path,
    schema: type[_SchemaT],
    *,
    find_envelope: Callable[[bytes], str],
    kind: str,
    version: int,
    made_by: str,
) -> tuple[_SchemaT, bytes]:
    """Read a model file and check its document, whatever bytes there are.

    Args:
        path: The file.
        schema: Of the document.
        find_envelope: Returns what `seal` returned from the bytes of a file of this kind.
        kind: For messages, such as `ONNX file`.
        version: Of the schema.
        made_by: The command that makes such a file.

    Returns:
        The document, and the bytes of the whole file.

    Raises:
        InputError: The file is missing, damaged, of another kind or another version.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            raise InputError(f"{path}: is no darkroom {kind}; make one with: {made_by}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such {kind}; make it with: {made_by}") from None
    try:
        envelope = json.loads(find_envelope(data))
        document, document_sha256 = envelope["document"], envelope["sha256"]
        is_intact = hashlib.sha256(document.encode()).hexdigest() == document_sha256
    except InputError:
        raise
    except Exception:  # any bytes may come, and this only reads them
        raise InputError(f"{path}: is no darkroom {kind}, or is damaged; {MEND}; {made_by}") from None
    if not is_intact:
        raise InputError(
            f"{path}: is damaged (its document does not have its recorded SHA-256); {MEND}; {made_by}"
        )
    try:
        return schema.model_validate_json(document), data
    except ValidationError as error:
        problem = shorten(first_error(error), limit=300)
        raise InputError(
            f"{path}: was not written by darkroom, or by another version of darkroom, and this one reads "
            f"version {version} ({problem}); re-create it with: {made_by}"
        ) from None


def check_header_size(data: bytes) -> None:
    """Check the header of safetensors before anything reads it: it may hold millions of the smallest things.

    Raises:
        ValueError: It is longer than any that names tensors of a network.
    """
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {size:,} bytes; allowed: {MAX_HEADER_BYTES:,}")


def parse_weights(data: bytes, checkpoint: Checkpoint, *, path: Path) -> dict[str, "Tensor"]:
    """Return the weights, on the CPU, in the bytes that `read_document` returned.

    Raises:
        InputError: They are damaged.
    """
    return _parse_weights(data, sha256=checkpoint.weights_sha256, path=path)


def _parse_weights(data: bytes, *, sha256: str, path: Path) -> dict[str, "Tensor"]:
    from safetensors.torch import load as parse_tensors

    try:
        weights = parse_tensors(data)
    except Exception as error:  # any bytes may come
        raise InputError(
            f"{path}: is no darkroom checkpoint, or is damaged ({describe_error(error)}); {_MEND}"
        ) from None
    if hash_weights(weights) != sha256:
        raise InputError(f"{path}: is damaged (its weights do not have their recorded SHA-256); {_MEND}")
    return weights


def write_backbone(path: Path, weights: dict[str, "Tensor"]) -> None:
    """Write the weights that a network started from; checkpoints of the run record their SHA-256."""
    from safetensors.torch import save as serialize_tensors

    with publish_file(path) as partial:
        partial.write_bytes(serialize_tensors(_move_to_cpu(weights)))


def restore_backbone(checkpoint: Checkpoint, path: Path) -> "nn.Module":
    """Return the network that a checkpoint's run started from, on the CPU; its output layer is random.

    Args:
        checkpoint: Of a run that started from pretrained weights.
        path: The file that `write_backbone` wrote.

    Raises:
        InputError: The file is missing, damaged, or that of another run.
    """
    pretrained = checkpoint.pretrained_weights
    assert pretrained is not None
    try:
        data = path.read_bytes()
        check_header_size(data)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; make it with: {MAKE_MODEL}") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {error}; {_MEND}") from None
    weights = _parse_weights(data, sha256=pretrained.backbone_sha256 or "", path=path)
    return _restore(checkpoint, weights, is_strict=False)


def restore_network(checkpoint: Checkpoint, weights: dict[str, "Tensor"]) -> "nn.Module":
    """Return the checkpoint's network with its weights, on the CPU, in channels_last memory.

    Raises:
        InputError: The weights are not those of the network, whose code may have changed since.
    """
    return _restore(checkpoint, weights, is_strict=True)


def _restore(checkpoint: Checkpoint, weights: dict[str, "Tensor"], *, is_strict: bool) -> "nn.Module":
    import torch

    from stages.vision.networks import TooManyParameters, build_network, limit_parameters

    image = image_after(checkpoint.image, checkpoint.preprocessing)
    num_weights = sum(tensor.numel() for tensor in weights.values())
    try:
        # A few bytes may claim the largest network there is.
        with limit_parameters(2 * num_weights + MAX_OWN_PARAMETERS):
            network = build_network(checkpoint.network, image=image, num_classes=len(checkpoint.classes))
        network.load_state_dict(weights, strict=is_strict)
    except (RuntimeError, TooManyParameters):
        raise InputError(
            f"the checkpoint's weights do not fit the network {checkpoint.network.name} as its code is now; "
            f"re-create it with: {MAKE_MODEL}"
        ) from None
    return network.to(memory_format=torch.channels_last)


def hash_weights(weights: dict[str, "Tensor"]) -> str:
    """Return one SHA-256 over the names, dtypes, shapes and bytes of all tensors, in the order of names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(_move_to_cpu(weights).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes, because NumPy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _move_to_cpu(weights: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the tensors in the CPU's memory, laid out in the order of their elements."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
