"""Tensors in files of torch.save, read as data: nothing that the pickle in them names is ever called.

torch.load(weights_only=True) runs no foreign code, and still a file of 400 bytes makes it hang for ever or
take all memory: the pickle may hash nested tuples, double a text forty times, or be a mapping that holds
itself (docs/decisions/042-weights-are-data.md). So the pickle is walked here, opcode by opcode, and what it
would call becomes a description: of a tensor for torch's own functions, of nothing else. Then every opcode
costs the same, however it refers to others, and all tensors cost no more than the file that holds them.
"""

import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pickletools import anyobject, genops, opcodes
from typing import IO, Any, BinaryIO

import torch
from torch import Tensor

MAX_OPCODES = 2_000_000
"""Of the pickle: 1,000 tensors with their optimizer's state have 100,000. Each costs up to 100 bytes."""

MAX_DIRECTORY_BYTES = 16 * 2**20
"""Of the names in a zip archive: about 200,000, of which each costs half a kilobyte."""

_DIRECTORY_SIZE = 5
"""Its place in the library's record of an archive's end."""

MAX_NAME = 4096
"""Characters of a name; what has a longer one is left out."""

_MAX_EXPANDED_BYTES = 2**20
"""A tensor may claim more numbers than the file holds, as an expanded one does, up to this size."""

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""The first value in a file of torch before 1.6, which wrote several pickles and then the numbers."""

_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "Untyped": torch.uint8,
}
"""By what torch puts before `Storage`."""

_FLOAT8 = re.compile(r"torch\.float8_e(4m3fn|5m2)")

# What stands beside weights and is no danger, as it is never called either.
_HARMLESS = re.compile(
    r"torch\.\w+|torch\.(_utils\._rebuild|_tensor|storage|serialization|nn\.parameter)\w*(\.\w+)?|_codecs\.encode|"
    r"collections\.(OrderedDict|Counter|defaultdict)|(builtins|__builtin__)\.(set|frozenset|bytearray|complex)|"
    r"numpy\.(dtype|ndarray|_?core\.multiarray\.(scalar|_reconstruct))|argparse\.Namespace|pathlib\.\w*Path"
)


class NotWeights(ValueError):
    """The file is something else; the message says what, as in `is empty`."""


class ForeignObject(NotWeights):
    """The pickle names an object that is no tensor; the message is its name."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function that the pickle names."""

    text: str


@dataclass(frozen=True, slots=True)
class _Object:
    """What the pickle would make of a name."""

    of: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """The numbers that tensors are views of."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor that is still in the file."""

    storage: _Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_PLAIN = frozenset(
    opcode.name
    for opcode in opcodes
    if opcode.arg
    and not opcode.stack_before
    and opcode.stack_after
    and opcode.stack_after[0] is not anyobject
)
"""The opcodes that put a number, a text or bytes on the stack: their argument."""

_MARK = object()


class TorchFile:
    """An open file of torch.save. Anything may be wrong with it, so any exception may come of it.

    Attributes:
        content: What was saved: mappings, lists, tuples, numbers and texts; tensors as `TensorView`, and any
            other object as something opaque. Mappings have only those keys that are texts.
    """

    content: object

    def __init__(self, file: BinaryIO) -> None:
        self._storages: dict[str, Tensor] = {}
        is_zip = file.read(4) == b"PK\x03\x04"
        self.content, self._read_bytes = (_open_zip if is_zip else _open_legacy)(file)

    def load(self, view: TensorView) -> Tensor:
        """Return a tensor; those that share memory in the file still do."""
        storage = view.storage
        if storage.key not in self._storages:
            self._storages[storage.key] = torch.frombuffer(
                bytearray(self._read_bytes(storage)) or bytearray(8), dtype=torch.uint8
            )
        numbers = self._storages[storage.key]
        numbers = numbers[: len(numbers) // view.dtype.itemsize * view.dtype.itemsize].view(view.dtype)
        _check_view(view, num_stored=len(numbers))
        return numbers.as_strided(view.shape, view.strides, view.offset)


def _check_view(view: TensorView, *, num_stored: int) -> None:
    if len(view.shape) != len(view.strides) or len(view.shape) > 64:
        raise ValueError("a tensor's shape and strides do not match")
    values = (*view.shape, *view.strides, view.offset)
    if not all(type(value) is int and 0 <= value < 2**62 for value in values):
        raise ValueError("a tensor's shape, strides or offset are no sizes")
    count = math.prod(view.shape)
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True))
    if count and last >= num_stored:
        raise ValueError("a tensor reaches beyond its numbers")
    if count * view.dtype.itemsize > max(num_stored * view.dtype.itemsize, _MAX_EXPANDED_BYTES):
        raise ValueError(
            f"a tensor of {view.shape} claims more numbers than the {num_stored:,} that are there"
        )


ReadBytes = Callable[[_Storage], bytes]


def _open_zip(file: BinaryIO) -> tuple[object, ReadBytes]:
    """Return what is in a zip archive, as torch writes it since 1.6, and what reads its storages."""
    _check_directory(file)
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    folders = {name.rpartition("/")[0] for name in pickles}
    if len(folders) != 1:
        inner = next((name for name in entries if name.endswith((".pth", ".pt", ".safetensors"))), None)
        held = f"that holds {inner}" if inner else "that torch did not write"
        raise NotWeights(f"is a zip archive {held}")
    (folder,) = folders
    if f"{folder}/constants.pkl" in entries:
        raise NotWeights("is TorchScript, which is code")
    # torch stores all as it is, so what is read is no more than the file, unless one part lies over another.
    is_plain = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries.values())
    if not is_plain or sum(entry.file_size for entry in entries.values()) > _size_of(file):
        raise ValueError("its parts are compressed, or are more than the file")
    if f"{folder}/byteorder" in entries and archive.read(f"{folder}/byteorder") != b"little":
        raise NotWeights("is from a big-endian machine")

    def read(storage: _Storage) -> bytes:
        return archive.read(f"{folder}/data/{storage.key}")

    return _Pickle().load(io.BytesIO(archive.read(f"{folder}/data.pkl"))), read


def _check_directory(file: BinaryIO) -> None:
    """Check the size of a zip archive's directory before the library reads all of it."""
    # What the library itself finds at the end of the file: any other reader may find another record there.
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    size = end[_DIRECTORY_SIZE] if end else 0
    if size > MAX_DIRECTORY_BYTES:
        raise ValueError(f"{size:,} bytes of names; allowed: {MAX_DIRECTORY_BYTES:,}")


def _size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _open_legacy(file: BinaryIO) -> tuple[object, ReadBytes]:
    """Return what is in a file of torch before 1.6: pickles, then each storage's length and numbers."""
    file.seek(0)
    pickles = _Pickle()
    if pickles.load(file) != _MAGIC_NUMBER:
        raise NotWeights("is a pickle that torch did not write")
    _protocol, _system, content, keys = (pickles.load(file) for _ in range(4))
    places: dict[str, tuple[int, int]] = {}
    size_of_file = _size_of(file)
    for key in keys if isinstance(keys, list) else []:
        (count,) = struct.unpack("<q", file.read(8))
        size = count * pickles.storages[key].dtype.itemsize
        place = file.tell()
        if not 0 <= size <= size_of_file - place:
            raise ValueError("it is cut off")
        places[key] = (place, size)
        file.seek(place + size)

    def read(storage: _Storage) -> bytes:
        place, size = places[storage.key]
        file.seek(place)
        return file.read(size)

    return content, read


class _Pickle:
    """What walks pickles. Nothing in it calls, compares or copies what is deep or long."""

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self._num_left = MAX_OPCODES

    def load(self, file: IO[bytes]) -> Any:
        """Return what one pickle holds, and leave the file behind it."""
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        argument: Any
        for opcode, argument, _ in genops(file):
            self._spend(1)
            match opcode.name:
                case "STOP":
                    return stack.pop()
                case "PROTO" | "FRAME":
                    pass
                case "MARK":
                    stack.append(_MARK)
                case "POP":
                    stack.pop()
                case "POP_MARK":
                    _pop_to_mark(stack)
                case "DUP":
                    stack.append(stack[-1])
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "NONE" | "NEWTRUE" | "NEWFALSE":
                    stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
                case "EMPTY_DICT" | "EMPTY_LIST":
                    stack.append({} if opcode.name == "EMPTY_DICT" else [])
                case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                    count = int(opcode.name[5:]) if opcode.name != "EMPTY_TUPLE" else 0
                    stack.append(tuple(_pop(stack, count)))
                case "TUPLE":
                    stack.append(tuple(_pop_to_mark(stack)))
                case "LIST":
                    stack.append(_pop_to_mark(stack))
                case "DICT":
                    stack.append(_set_items({}, _pop_to_mark(stack)))
                case "APPEND":
                    _append_items(stack, _pop(stack, 1))
                case "APPENDS":
                    _append_items(stack, _pop_to_mark(stack))
                case "SETITEM":
                    _set_items(stack[-3], _pop(stack, 2))
                case "SETITEMS":
                    items = _pop_to_mark(stack)
                    _set_items(stack[-1], items)
                case "EMPTY_SET":
                    stack.append(_Object("set"))
                case "ADDITEMS":
                    _pop_to_mark(stack)
                case "FROZENSET":
                    _pop_to_mark(stack)
                    stack.append(_Object("frozenset"))
                case "GLOBAL":
                    stack.append(_name(*str(argument).split(" ", 1)))
                case "STACK_GLOBAL":
                    stack.append(_name(*_pop(stack, 2)))
                case "REDUCE" | "NEWOBJ":
                    called, arguments = _pop(stack, 2)
                    stack.append(self._describe(called.text, arguments))
                case "NEWOBJ_EX":
                    called, _, _ = _pop(stack, 3)
                    stack.append(_Object(called.text))
                case "BUILD":
                    stack.pop()  # what would be set on the object below it
                case "BINPERSID":
                    stack.append(self._find_storage(stack.pop()))
                case _ if opcode.name in _PLAIN:
                    stack.append(argument)
                case _:
                    raise ValueError(f"its pickle has the opcode {opcode.name}, which torch does not write")
        raise EOFError

    def _spend(self, count: int) -> None:
        self._num_left -= count
        if self._num_left < 0:
            raise ValueError(f"its pickle has more than {MAX_OPCODES:,} opcodes, far more than weights need")

    def _describe(self, name: str, arguments: Any) -> Any:
        """Return what calling a name with arguments stands for."""
        if type(arguments) is not tuple:
            raise TypeError("arguments are no tuple")
        if (
            name == "torch._tensor._rebuild_from_type_v2"
        ):  # a tensor with attributes: function, type, arguments
            name, arguments = arguments[0].text, arguments[2]
        match name:
            case "collections.OrderedDict":
                pairs = arguments[0] if arguments else []
                self._spend(len(pairs))
                return _set_items({}, [value for key, item in pairs for value in (key, item)])
            case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2":
                storage, offset, shape, strides = arguments[:4]
                if type(storage) is not _Storage:  # of a type that weights do not have
                    return _Object(name)
                return TensorView(storage, storage.dtype, offset, _sizes(shape), _sizes(strides))
            case "torch._utils._rebuild_tensor_v3":
                storage, offset, shape, strides, _, _, dtype = arguments[:7]
                if type(storage) is not _Storage or not _FLOAT8.fullmatch(dtype.text):
                    return _Object(name)
                dtype = getattr(torch, dtype.text.removeprefix("torch."))
                return TensorView(storage, dtype, offset, _sizes(shape), _sizes(strides))
            case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state":
                return arguments[0]
            case "torch.nn.parameter.Parameter" | "torch.Size" if arguments:
                return arguments[0]
            case _:
                return _Object(name)

    def _find_storage(self, arguments: Any) -> Any:
        """Return the storage that a persistent id stands for."""
        kind, *values = arguments
        if kind == "module":  # a class with its source, which is opaque as well
            return values[0]
        storage_type, key, _device, _count, *view = values
        name = re.fullmatch(r"torch\.(?:storage\.)?(\w*)Storage", storage_type.text)
        if kind != "storage" or type(key) is not str or (view and view[0] is not None):
            raise ValueError("its pickle has a reference that torch does not write")
        dtype = _DTYPES.get(name[1]) if name else None
        if dtype is None:
            return _Object(storage_type.text)
        return self.storages.setdefault(key, _Storage(key, dtype))


def _name(module: str, name: str) -> _Name:
    text = f"{module[:MAX_NAME]}.{name[:MAX_NAME]}"
    if not _HARMLESS.fullmatch(text):
        raise ForeignObject(text)
    return _Name(text)


def _pop(stack: list[Any], count: int) -> list[Any]:
    """Remove values from the top of the stack, and return them in the order they were pushed."""
    start = len(stack) - count
    items = stack[start:]
    if start < 0 or _MARK in items:
        raise IndexError("its pickle takes more than it puts")
    del stack[start:]
    return items


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    items.reverse()
    return items


def _append_items(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is list:
        stack[-1].extend(items)


def _set_items(mapping: Any, items: list[Any]) -> Any:
    """Set keys that are texts; to find any other one could take for ever, as that of nested tuples does."""
    if type(mapping) is dict:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str and len(key) <= MAX_NAME:
                mapping[key] = value
    return mapping


def _sizes(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple:
        raise TypeError("a tensor's shape is no tuple")
    return values
