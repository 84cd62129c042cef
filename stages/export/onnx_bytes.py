"""ONNX files as bytes, read without a library: their metadata, their hash, and what their graph may hold.

Whoever forges a file computes its hashes, so these find damage alone. `check_contents` sees to what a forged
graph could do: onnxruntime would read other files for it, below the current folder and beside it, and run
loops and functions that call each other. No export has such parts, so they are refused by their fields.
Source: onnx.proto of onnx 1.23; https://protobuf.dev/programming-guides/encoding.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

MAX_FIELDS = 500_000
"""In one file; that of a large network has some ten thousand."""

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types of protobuf
_GRAPH, _METADATA = 7, 14  # fields of ModelProto
_OPERATORS = (b"", b"ai.onnx")
"""Names of the domain of ONNX's own operators."""

_PARTS = {
    "Model": {_GRAPH: "Graph"},
    "Graph": {1: "Node", 5: "Tensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 10: "Tensor"},
    "Tensor": {},
}
"""Messages of onnx.proto, and their fields that are such messages."""

_REFUSED = {
    ("Model", 20): "steps of training",
    ("Model", 25): "functions",
    ("Graph", 15): "sparse weights",
    ("Attribute", 6): "a loop or a branch",
    ("Attribute", 11): "a loop or a branch",
    ("Attribute", 22): "sparse weights",
    ("Attribute", 23): "sparse weights",
    ("Tensor", 13): "weights that are in another file",
}


class Field(NamedTuple):
    """A field of a protobuf message: its number, and where in the bytes it is."""

    number: int
    start: int
    value_start: int
    end: int
    wire_type: int


def split(data: bytes) -> tuple[str, dict[str, str]]:
    """Return the SHA-256 of an ONNX file without its metadata, and the metadata.

    Raises:
        ValueError: These are not the bytes of such a file.
    """
    digest, metadata = hashlib.sha256(), {}
    view = memoryview(data)
    has_graph = False
    for field in _walk(view, limit=MAX_FIELDS):
        if field.number == _METADATA:
            entry = view[field.value_start : field.end]
            values = {
                each.number: bytes(entry[each.value_start : each.end]) for each in _walk(entry, limit=2)
            }
            metadata[values.get(1, b"").decode()] = values.get(2, b"").decode()
        else:
            digest.update(view[field.start : field.end])
            has_graph |= field.number == _GRAPH
    if not has_graph:
        raise ValueError("there is no graph")
    return digest.hexdigest(), metadata


def check_contents(data: bytes) -> None:
    """Check that an ONNX file holds what an export does: one graph of ONNX's operators, and its weights.

    Raises:
        ValueError: It holds something else, or is cut short; the message says what.
    """
    left = MAX_FIELDS
    messages = [("Model", memoryview(data))]
    while messages:
        kind, message = messages.pop()
        for field in _walk(message, limit=left):
            left -= 1
            value = message[field.value_start : field.end]
            if found := _REFUSED.get((kind, field.number)):
                raise ValueError(f"it holds {found}")
            if kind == "Tensor" and field.number == 14 and any(value):  # where its values are: 0 is here
                raise ValueError("it holds weights that are in another file")
            if kind == "Node" and field.number == 7 and bytes(value) not in _OPERATORS:
                raise ValueError("it holds operators that are not ONNX's own")
            if field.wire_type == _LENGTH and (part := _PARTS[kind].get(field.number)):
                messages.append((part, value))


def add_metadata(data: bytes, key: str, value: str) -> bytes:
    """Return an ONNX file with one more entry of metadata."""
    entry = _encode_field(1, key.encode()) + _encode_field(2, value.encode())
    return data + _encode_field(_METADATA, entry)


def _walk(data: memoryview, *, limit: int) -> Iterator[Field]:
    """Yield the fields of a protobuf message.

    Raises:
        ValueError: These are not the bytes of a message, or there are too many fields.
    """
    at = 0
    while at < len(data):
        limit -= 1
        if limit < 0:
            raise ValueError(f"it has more than {MAX_FIELDS:,} parts")
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
        # Of a longer tag protobuf reads the lower 32 bits: it would be another field there than here.
        if at > len(data) or not 8 <= tag < 2**32:
            raise ValueError("a field is cut short")
        yield Field(tag >> 3, start, value_start, at, wire_type)


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
