"""Hostile files of weights: pickles that make torch.load hang, odd safetensors, mutants of whole files."""

import functools
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping

import torch
from safetensors.torch import save as save_safetensors

_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def text(value: str) -> bytes:
    """Return the opcode of a text."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def zip_archive(parts: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive; a name may hold a null byte, which the library would cut."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name.replace("\0", "\x7f"), data)
    data = buffer.getvalue()
    return data.replace(b"\x7f", b"\0") if any("\0" in name for name in parts) else data


def zip_file(pickle: bytes, **storages: bytes) -> bytes:
    """Return a file of torch.save around the opcodes of a pickle; each storage is named `s` and its key."""
    parts = {f"archive/data/{name[1:]}": data for name, data in storages.items()}
    return zip_archive(
        {"archive/data.pkl": b"\x80\x02" + pickle + b".", "archive/byteorder": b"little", **parts}
    )


def legacy_file(pickle: bytes) -> bytes:
    """Return a file of torch before 1.6 around the opcodes of a pickle, without numbers."""
    values = (_MAGIC, b"M\xe9\x03", b"}", pickle, b"]")
    return b"".join(b"\x80\x02" + value + b"." for value in values)


def tensor(
    *,
    key: str = "0",
    kind: str = "FloatStorage",
    count: bytes = b"K\x02",
    offset: bytes = b"K\x00",
    shape: bytes = b"K\x02\x85",
    strides: bytes = b"K\x01\x85",
) -> bytes:
    """Return the opcodes of a tensor, with those of its values."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + count
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return rebuild + storage + b"tQ" + offset + shape + strides + b"\x89ccollections\nOrderedDict\n)RtR"


def _state(values: bytes) -> bytes:
    return b"}" + text("weight") + values + b"s"


def _long(value: int) -> bytes:
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + data


def _doubled(codec: str) -> bytes:
    encode = b"c_codecs\nencode\n"
    value = encode + text("a" * 1000) + text("latin1") + b"\x86R"
    for _ in range(40):
        value = encode + value + text(codec) + b"\x86R"
    return value


PICKLES = {
    "a byte array of 2 GB": b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    "a tensor of 4 TB": _state(b"ctorch\nTensor\n" + _long(2**40) + b"\x85R"),
    "a key of nested tuples": b"})" + b"q\x00h\x00\x86" * 64 + b"K\x01s",
    "a mapping in itself": b"}q\x00" + text("model") + b"h\x00s",
    "a text doubled": _doubled("hex"),
    "a list of itself, as pairs": b"ccollections\nOrderedDict\n]q\x00h\x00a\x85R",
    "the memo's last place": b"Nr\xff\xff\xff\xff0}",
    "a text of 4 GB": b"X\xff\xff\xff\xffabc",
    "bytes of 16 EB": b"\x8e" + b"\xff" * 8 + b"abc",
    "a number of a million digits": b"L" + b"9" * 10**6 + b"L\n",
    "nothing to pop": b"0",
    "no mark": b"t",
    "a call of a number": b"K\x01)R",
    "state for a number": b"K\x01}b",
    "what is not in the memo": b"h\x07",
    "an unknown opcode": b"\xff",
    "an extension": b"\x82\x01",
    "a persistent id as text": b"P0\n",
    "a persistent id that is a number": b"K\x01Q",
    "an object of posix": b"cposix\nsystem\n" + text("touch sprung") + b"\x85R",
    "an object by STACK_GLOBAL": text("os") + text("system") + b"\x93" + text("touch sprung") + b"\x85R",
    "an object by INST": b"(" + text("touch sprung") + b"ios\nsystem\n",
    "an object by OBJ": b"(cposix\nsystem\n" + text("touch sprung") + b"o",
    "a name of a megabyte": b"c" + b"\x1b" * 10**6 + b"\nname\n",
    "numbers that are not there": _state(tensor()),
    "a storage of -1 numbers": _state(tensor(count=_long(-1))),
    "a storage of 2^70 numbers": _state(tensor(count=_long(2**70))),
    "a shape of 2^62 numbers": _state(tensor(shape=_long(2**62) + b"\x85")),
    "a shape of -1": _state(tensor(shape=_long(-1) + b"\x85")),
    "a shape that overflows": _state(tensor(shape=_long(2**40) * 2 + b"\x86", strides=b"K\x00K\x00\x86")),
    "an offset of 2^61": _state(tensor(offset=_long(2**61))),
    "a stride of -1": _state(tensor(strides=_long(-1) + b"\x85")),
    "a shape that is text": _state(tensor(shape=text("2"))),
    "more strides than sizes": _state(tensor(strides=b"K\x01K\x01\x86")),
    "a storage of no type": _state(tensor(kind="OddStorage")),
    "a storage that is code": _state(tensor(kind="nn.Module")),
    "a key that leads out": _state(tensor(key="../../../etc/passwd")),
}
"""Opcodes of pickles by what is hostile about them."""


def expanded() -> bytes:
    """Return a file of 2 numbers with a tensor of a tera of them."""
    values = tensor(shape=_long(2**40) + b"\x85", strides=b"K\x00\x85")
    return zip_file(_state(values), s0=bytes(8))


def bombs() -> dict[str, Callable[[], bytes]]:
    """Return what makes files that are large enough to cost something by themselves."""
    return {
        "a pickle of empty mappings": lambda: zip_file(b"}" * 10**7),
        "a pickle of numbers": lambda: legacy_file(b"K\x01" * 10**7),
        "a text of 50 MB, often": lambda: zip_file(
            b"(" + text("x" * 5 * 10**7) + b"q\x00" + b"h\x00" * 10**6 + b"l"
        ),
        "a million names": lambda: zip_archive({f"a/{at}": b"" for at in range(150_000)}),
        "deflated": lambda: zip_archive({"a/data.pkl": bytes(10**8)}, method=zipfile.ZIP_DEFLATED),
        "names without end": lambda: zip_file(
            b"}" + b"".join(text("\0" * 4000 + str(at)) + tensor() + b"s" for at in range(300)), s0=bytes(8)
        ),
        "dots in names": lambda: _header(
            {f"{at}{'.' * 4000}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for at in range(1500)}
        ),
        "a header of tensors": lambda: _header(
            {f"{at:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for at in range(120_000)}
        ),
    }


def _header(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@functools.cache
def safetensors_files() -> dict[str, bytes]:
    """Return hostile files of safetensors by what is hostile about them."""

    def one(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    return {
        "overlapping": _header({"a": one([2], 0, 8), "b": one([2], 4, 12)}, bytes(12)),
        "overflowing": _header({"a": one([2**40, 2**40], 0, 8)}, bytes(8)),
        "too large": _header({"a": one([2**40], 0, 2**42)}, bytes(8)),
        "backwards": _header({"a": one([2], 8, 0)}, bytes(8)),
        "negative": _header(b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', bytes(8)),
        "unknown type": _header({"a": one([2], 0, 8, "F31")}, bytes(8)),
        "four bits": _header({"a": one([2], 0, 1, "F4")}, bytes(1)),
        "deep": _header(b'{"a":' + b"[" * 10**5),
        "no tensors": _header(b"{"),
        "a header of 20 MB": _header(b'{"a":"' + b" " * 20 * 2**20),
        "a header of 2^60": struct.pack("<Q", 2**60) + b"{",
    }


@functools.cache
def whole_files() -> dict[str, bytes]:
    """Return whole files of weights in each format."""
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{at}.weight": torch.randn(8, 3, 3, 3, generator=generator) for at in range(6)}
    files = {"safetensors": save_safetensors(weights)}
    for name, is_zip in (("zip", True), ("legacy", False)):
        buffer = io.BytesIO()
        saved = {"state_dict": weights, "epoch": 3, "lr": 0.1, "names": ["a", "b"]}
        with warnings.catch_warnings(action="ignore"):
            torch.save(saved, buffer, _use_new_zipfile_serialization=is_zip)
        files[name] = buffer.getvalue()
    return files


def mutate(data: bytes, *, seed: int) -> bytes:
    """Return data with bytes changed, cut out, doubled or put in, mostly where there are no numbers."""
    generator = random.Random(seed)
    mutant = bytearray(data)
    ends = (0, min(3000, len(data)), max(0, len(data) - 3000), len(data))
    for _ in range(generator.choice((1, 1, 2, 5, 30))):
        start = generator.choice((0, 0, 1, 2))
        place = generator.randrange(ends[start], max(ends[start] + 1, ends[start + 1]))
        length = generator.choice((1, 1, 1, 2, 4, 8, 100))
        match generator.randrange(6):
            case 0:
                mutant[place : place + 1] = bytes([generator.randrange(256)])
            case 1 if place < len(mutant):
                mutant[place] ^= 1 << generator.randrange(8)
            case 2:
                del mutant[place : place + length]
            case 3:
                mutant[place:place] = mutant[place : place + length]
            case 4:
                mutant[place : place + length] = generator.choice((b"\xff", b"\0", b"\x7f")) * length
            case _:
                mutant[place:place] = generator.randbytes(length)
    return bytes(mutant[: generator.randrange(len(mutant) + 1)] if generator.random() < 0.1 else mutant)
