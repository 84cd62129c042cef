"""An exported ONNX file, checked and run. Needs NumPy and onnxruntime, never PyTorch.

The file's document is in its metadata under `darkroom`, beside its own SHA-256, and holds the SHA-256 of all
other bytes. So every byte is checked before onnxruntime reads one, and `read_exported` needs no library at
all: the few fields on ONNX's top level are found by hand.
"""

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from schemas.export.exported import EXPORT_VERSION, ExportedModel
from stages.shared.errors import InputError, describe_error, shorten
from stages.shared.files import MEND, first_error
from stages.shared.paths import MAKE_EXPORT

METADATA_KEY = "darkroom"

_MEND = f"{MEND}; {MAKE_EXPORT}"
_METADATA_FIELD = 14  # metadata_props of ModelProto in onnx.proto: entries of a key (1) and a value (2)
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types of protobuf

Floats = npt.NDArray[np.float32]


class OnnxModel:
    """The model in an ONNX file, ready to classify images.

    An image gets the same bits in a batch of any size, at any place in it.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Read, check and load a file.

        Args:
            path: What the export stage wrote.
            threads: None for as many as the checkpoint was trained with.

        Raises:
            InputError: The file is missing, damaged or not made by darkroom, or onnxruntime is missing or
                too old for it.
        """
        self.exported, data = _read(path)
        self._session = _start_session(data, path, self.exported, threads=threads or self.exported.threads)

    def compute_probabilities(self, images: npt.NDArray[np.uint8]) -> Floats:
        """Return calibrated probabilities float32 (N, num_classes) for images uint8 (N, H, W, C)."""
        (probabilities,) = self._compute(images, probabilities=len(self.exported.classes))
        return probabilities

    def compute_with_embeddings(self, images: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Return probabilities, and what the last layer takes, float32 (N, num_features), of the same pass.

        Raises:
            InputError: The network has no such layer.
        """
        if self.exported.num_features is None:
            raise InputError(f"{self.exported.network}: has no single layer whose inputs could be embeddings")
        probabilities, embeddings = self._compute(
            images, probabilities=len(self.exported.classes), embeddings=self.exported.num_features
        )
        return probabilities, embeddings

    def _compute(self, images: npt.NDArray[np.uint8], **num_values: int) -> list[Floats]:
        """Return outputs of the graph by their names, each float32 (N, so many values)."""
        computed = [np.empty((len(images), number), dtype=np.float32) for number in num_values.values()]
        # One by one: onnxruntime adds up in another order for one image than for several.
        for at in range(len(images)):
            outputs = self._session.run(list(num_values), {"images": images[at : at + 1]})
            for rows, output in zip(computed, outputs, strict=True):
                rows[at : at + 1] = output
        return computed


def read_exported(path: Path) -> ExportedModel:
    """Return the document of an exported ONNX file after checking every byte of it.

    Raises:
        InputError: The file is missing, damaged, of another version, or not made by darkroom.
    """
    return _read(path)[0]


def seal(graph: bytes, exported: ExportedModel) -> bytes:
    """Return an ONNX file: the bytes of a model without metadata, and its document as metadata."""
    document = exported.model_dump_json()
    envelope = {"document": document, "sha256": hashlib.sha256(document.encode()).hexdigest()}
    key, value = METADATA_KEY.encode(), json.dumps(envelope).encode()
    entry = _encode_field(1, key) + _encode_field(2, value)
    return graph + _encode_field(_METADATA_FIELD, entry)


def _read(path: Path) -> tuple[ExportedModel, bytes]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            raise InputError(f"{path}: is no ONNX file; export one with: {MAKE_EXPORT}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; export a model with: {MAKE_EXPORT}") from None
    try:
        graph_sha256, metadata = _split(data)
    except ValueError:
        raise InputError(f"{path}: is no ONNX file, or is damaged; {_MEND}") from None
    if METADATA_KEY not in metadata:
        raise InputError(
            f"{path}: was not exported by darkroom: its metadata has no entry {METADATA_KEY}, so its "
            f"classes, preprocessing and calibration are not known; export one with: {MAKE_EXPORT}"
        )
    try:
        envelope = json.loads(metadata[METADATA_KEY])
        document, document_sha256 = envelope["document"], envelope["sha256"]
        is_intact = hashlib.sha256(document.encode()).hexdigest() == document_sha256
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_intact, document = False, ""
    if not is_intact:
        raise InputError(f"{path}: is damaged (its document does not have its recorded SHA-256); {_MEND}")
    try:
        exported = ExportedModel.model_validate_json(document)
    except ValidationError as error:
        problem = shorten(first_error(error), limit=300)
        raise InputError(
            f"{path}: was not written by darkroom, or by another version of darkroom, and this one reads "
            f"version {EXPORT_VERSION} ({problem}); re-create it with: {MAKE_EXPORT}"
        ) from None
    if exported.graph_sha256 != graph_sha256:
        raise InputError(f"{path}: is damaged (its graph does not have its recorded SHA-256); {_MEND}")
    return exported, data


def _start_session(data: bytes, path: Path, exported: ExportedModel, *, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{path}: the library onnxruntime, which runs it, is not installed; install it with: "
            "pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and said once
    # Sleeping threads leave the other cores to those who decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds, with a common base only in private
        raise InputError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot run it, which needs opset "
            f"{exported.opset} and was written with onnxruntime {exported.libraries.get('onnxruntime', '?')} "
            f"({describe_error(error)}); upgrade onnxruntime, or export again with: {MAKE_EXPORT}"
        ) from None


def _split(data: bytes) -> tuple[str, dict[str, str]]:
    """Return the SHA-256 of an ONNX file without its metadata, and the metadata.

    Raises:
        ValueError: These are not the bytes of such a file.
    """
    digest, metadata = hashlib.sha256(), {}
    view = memoryview(data)
    has_graph = False
    for number, start, value_start, end in _walk_fields(view):
        if number == _METADATA_FIELD:
            entry = {
                key: bytes(view[value_start:end][at:stop])
                for key, _, at, stop in _walk_fields(view[value_start:end])
            }
            metadata[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
        else:
            digest.update(view[start:end])
            has_graph |= number == 7
    if not has_graph:
        raise ValueError("there is no graph")
    return digest.hexdigest(), metadata


def _walk_fields(data: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, start, start of the value and end of each field of a protobuf message.

    Source: https://protobuf.dev/programming-guides/encoding.

    Raises:
        ValueError: These are not the bytes of a message.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        value_start, wire_type = at, tag & 7
        if wire_type == _VARINT:
            _, at = _read_varint(data, at)
        elif wire_type == _LENGTH:
            length, value_start = _read_varint(data, at)
            at = value_start + length
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if at > len(data) or tag < 8:
            raise ValueError("a field is cut short")
        yield tag >> 3, start, value_start, at


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut short")


def _encode_field(number: int, value: bytes) -> bytes:
    """Return a field of bytes."""
    return _encode_varint(number << 3 | _LENGTH) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
