"""Checkpoints come back bit for bit, or not at all."""

import hashlib
import json
import pickle
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn

from schemas.shared.manifest import ImageForm
from schemas.vision.transforms import CenterCrop, Normalize, Resize, ToTensor
from stages.shared.errors import InputError
from stages.vision import checkpoint as checkpoint_file
from stages.vision.checkpoint import hash_weights, read_checkpoint, restore_network, write_checkpoint
from stages.vision.networks import TooManyParameters, build_network, limit_parameters
from stages.vision.transforms import build_transforms
from tests.vision.documents import TINY_CNN, make_checkpoint
from tests.vision.hostile_checkpoints import FORGED, HARMLESS, forge, mutate_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "best.safetensors"


def make_weights() -> dict[str, Tensor]:
    """Return tensors of every kind that a state dict may hold."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, 2, 2, generator=random)
    return {
        "weight": weights,
        "channels_last": weights.contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 5, generator=random).T,
        "bfloat16": torch.randn(7, generator=random).bfloat16(),
        "float16": torch.randn(3, generator=random).half(),
        "float64": torch.randn(3, dtype=torch.float64, generator=random),
        "scalar": torch.tensor(0.1),
        "bfloat16_scalar": torch.tensor(0.1).bfloat16(),
        "count": torch.tensor(2**40 + 1),
        "mask": torch.tensor([True, False, True]),
        "empty": torch.empty(0, 3),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
    }


def bits(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor in the order of its elements."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_weights_and_document_come_back(path: Path) -> None:
    """Names, types, shapes and every bit of every tensor survive, and so does the document."""
    weights = make_weights()
    checkpoint = make_checkpoint(weights)
    write_checkpoint(path, checkpoint, weights)
    read, read_weights = read_checkpoint(path)
    assert read == checkpoint
    assert read_weights.keys() == weights.keys()
    for name, tensor in weights.items():
        assert read_weights[name].dtype == tensor.dtype, name
        assert read_weights[name].shape == tensor.shape, name
        assert bits(read_weights[name]) == bits(tensor), name


def test_same_content_has_the_same_bytes(path: Path) -> None:
    """Writing twice gives the same file, whatever the order of the tensors and how they lie in memory."""
    weights = make_weights()
    write_checkpoint(path, make_checkpoint(weights), weights)
    first = path.read_bytes()
    shuffled = {name: weights[name].clone() for name in reversed(weights)}
    shuffled["weight"] = shuffled["weight"].contiguous(memory_format=torch.channels_last)
    write_checkpoint(path, make_checkpoint(shuffled), shuffled)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_hash_tells_apart_what_differs() -> None:
    """Another name, type, shape or bit is another hash; another order or memory layout is not."""
    weight = torch.zeros(2, 4)
    base = hash_weights({"a": weight, "b": weight})
    others: list[dict[str, Tensor]] = [
        {"a": weight},
        {"a": weight, "c": weight},
        {"a": weight, "b": weight.reshape(4, 2)},
        {"a": weight, "b": weight.int()},
        {"a": weight, "b": -weight},
        {"a": weight, "b": torch.zeros(2, 8).bfloat16()},
    ]
    assert len({base, *(hash_weights(other) for other in others)}) == 1 + len(others)
    assert hash_weights({"b": weight.T.contiguous().T, "a": weight}) == base


def write_small(path: Path) -> bytes:
    """Write a small checkpoint and return its bytes."""
    weights = {"weight": torch.arange(300.0), "scale": torch.tensor(0.5).bfloat16()}
    write_checkpoint(path, make_checkpoint(weights), weights)
    return path.read_bytes()


def test_every_flipped_bit_is_found(path: Path) -> None:
    """One other bit, anywhere in the file, is refused with the file's name."""
    data = write_small(path)
    generator = np.random.default_rng(0)
    places = [*range(8), *generator.choice(len(data), 400, replace=False).tolist(), len(data) - 1]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"best\.safetensors: is "):
            read_checkpoint(path)


def test_every_truncation_is_found(path: Path) -> None:
    """A file cut short anywhere, or with bytes added, is refused."""
    data = write_small(path)
    for end in (*range(80), *range(80, len(data) - 80, 7), *range(len(data) - 80, len(data))):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"best\.safetensors: is no darkroom checkpoint, or is damaged"):
            read_checkpoint(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(InputError):
        read_checkpoint(path)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("is_torch", [True, False])
def test_nothing_is_unpickled(path: Path, is_torch: bool) -> None:
    """A file of torch.save, or any pickle, is refused, and the code in it does not run."""
    trap = Trap(path.with_name("sprung"))
    if is_torch:
        torch.save({"weight": torch.zeros(2), "trap": trap}, path)
    else:
        path.write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError, match="is no darkroom checkpoint"):
        read_checkpoint(path)
    assert not path.with_name("sprung").exists()


def test_missing_checkpoint_is_named(path: Path) -> None:
    """A file that is not there is named, with the command that makes it."""
    with pytest.raises(
        InputError, match=r"best\.safetensors: there is no such checkpoint; .*dvc repro train"
    ):
        read_checkpoint(path)


def wrap(document: Any, *, sha256: str | None = None) -> dict[str, str]:
    """Return the metadata around a document, with its hash or another."""
    own = hashlib.sha256(str(document).encode()).hexdigest()
    return {"darkroom": json.dumps({"document": document, "sha256": sha256 or own})}


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"darkroom": ""},
        {"darkroom": "[]"},
        {"darkroom": "null"},
        {"darkroom": '"text"'},
        {"darkroom": "{}"},
        wrap(5),
        wrap([]),
        wrap("{}", sha256="0"),
    ],
)
def test_other_safetensors_files_are_refused(path: Path, metadata: dict[str, str] | None) -> None:
    """A safetensors file that darkroom did not write is refused, whatever its metadata holds."""
    path.write_bytes(serialize({"weight": torch.zeros(2)}, metadata=metadata))
    with pytest.raises(InputError, match=r"best\.safetensors: is "):
        read_checkpoint(path)


@pytest.mark.parametrize("header", [b"[]", b"5", b'{"__metadata__": []}', b"\xff"])
def test_odd_headers_are_refused(path: Path, header: bytes) -> None:
    """A header that is no table of tensors is refused."""
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match=r"best\.safetensors: is no darkroom checkpoint"):
        read_checkpoint(path)


def test_changed_document_is_found(path: Path) -> None:
    """A document edited by hand does not have its recorded hash."""
    weights = {"weight": torch.zeros(2)}
    document = make_checkpoint(weights).model_dump_json()
    sha256 = hashlib.sha256(document.encode()).hexdigest()
    changed = document.replace('"seed":7', '"seed":8')
    path.write_bytes(serialize(weights, metadata=wrap(changed, sha256=sha256)))
    with pytest.raises(InputError, match="its document does not have its recorded SHA-256"):
        read_checkpoint(path)


def test_weights_of_another_checkpoint_are_found(path: Path) -> None:
    """Undamaged weights under an undamaged document that speaks of others are refused."""
    document = make_checkpoint({"weight": torch.zeros(2)}).model_dump_json()
    path.write_bytes(serialize({"weight": torch.ones(2)}, metadata=wrap(document)))
    with pytest.raises(InputError, match="its weights do not have their recorded SHA-256"):
        read_checkpoint(path)


def test_document_of_another_version_is_refused(path: Path) -> None:
    """A document of version 2 is refused; the message names the key and how to re-create the file."""
    weights = {"weight": torch.zeros(2)}
    document = make_checkpoint(weights).model_dump_json().replace('"version":3', '"version":2')
    path.write_bytes(serialize(weights, metadata=wrap(document)))
    with pytest.raises(
        InputError, match=r"by another version of darkroom, and this one reads version 3 \(version: "
    ):
        read_checkpoint(path)


def test_a_checkpoint_without_depth16(path: Path) -> None:
    """One of before the key was there kept the upper 8 bits of 16, and is read so; a new one says its own."""
    weights = {"weight": torch.zeros(2)}
    image = ImageForm(color="grayscale", height_px=6, width_px=9, resize="pad", depth16="percentile")
    document = make_checkpoint(weights, image=image).model_dump_json()
    path.write_bytes(serialize(weights, metadata=wrap(document)))
    assert read_checkpoint(path)[0].image.depth16 == "percentile"
    older = document.replace(',"depth16":"percentile"', "")
    assert older != document
    path.write_bytes(serialize(weights, metadata=wrap(older)))
    assert read_checkpoint(path)[0].image.depth16 == "high_byte"


@pytest.mark.parametrize("name", sorted(FORGED.keys() - HARMLESS))
def test_forged_checkpoints_are_refused_cheaply(path: Path, name: str) -> None:
    """Hashes that fit prove nothing: what a checkpoint claims is held against bounds and its own weights."""
    path.write_bytes(forge(name))
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        restore_network(*read_checkpoint(path))
    assert time.process_time() - start < 5
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_network_larger_than_its_file_is_not_built() -> None:
    """Building stops at the first parameter beyond the limit, and the limit ends with the block."""
    with pytest.raises(TooManyParameters), limit_parameters(99):
        nn.Sequential(nn.Linear(9, 9), nn.Linear(3, 3, bias=False), nn.Linear(1, 1))
    with limit_parameters(99):
        nn.Sequential(nn.Linear(9, 9), nn.Linear(3, 3, bias=False))
    nn.Linear(100, 100)


def test_mutated_checkpoints_end_in_one_line(path: Path) -> None:
    """Of mutants some are read, and all others refused in a line; `make attack` tries a thousand."""
    for seed in range(60):
        path.write_bytes(mutate_checkpoint(seed=seed))
        with suppress(InputError):
            restore_network(*read_checkpoint(path))


def test_a_document_too_long_to_be_read_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no reader would take is refused when it is written."""
    monkeypatch.setattr(checkpoint_file, "MAX_HEADER_BYTES", 900)
    with pytest.raises(InputError, match="header"):
        write_small(path)
    assert not path.exists()


def test_network_is_restored(path: Path) -> None:
    """The network of a checkpoint computes what the one that was saved computes, bit for bit."""
    checkpoint = make_checkpoint({})
    torch.manual_seed(0)
    network = build_network(TINY_CNN, image=checkpoint.image, num_classes=2).eval()
    network = network.to(memory_format=torch.channels_last)
    weights = network.state_dict()
    write_checkpoint(path, make_checkpoint(weights), weights)
    torch.manual_seed(1)
    restored = restore_network(*read_checkpoint(path)).eval()
    images = torch.randn(5, 1, 6, 9)
    assert torch.equal(restored(images), network(images))


@pytest.mark.parametrize("weights", [{}, {"weight": torch.zeros(2)}])
def test_weights_of_another_network_are_refused(weights: dict[str, Tensor]) -> None:
    """Weights that the network's code of today has no place for are refused in words."""
    with pytest.raises(InputError, match=r"do not fit the network cnn .*dvc repro train"):
        restore_network(make_checkpoint(weights), weights)


def test_network_takes_what_the_preprocessing_makes(path: Path) -> None:
    """A checkpoint whose preprocessing resizes is restored with the network for that size."""
    resize = Resize(name="Resize", height_px=12, width_px=8)
    cut = CenterCrop(name="CenterCrop", height_px=10, width_px=8, in_training=False)
    preprocessing = (
        resize,
        cut,
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=(0.1,), std=(0.3,)),
    )
    image = ImageForm(color="grayscale", height_px=10, width_px=8, resize="pad")
    network = build_network(TINY_CNN, image=image, num_classes=2)
    write_checkpoint(
        path, make_checkpoint(network.state_dict(), preprocessing=preprocessing), network.state_dict()
    )
    checkpoint, weights = read_checkpoint(path)
    assert checkpoint.preprocessing == preprocessing
    pixels = torch.zeros(2, 1, checkpoint.image.height_px, checkpoint.image.width_px, dtype=torch.uint8)
    inputs = build_transforms(checkpoint.preprocessing)(pixels)
    assert inputs.shape == (2, 1, 10, 8)
    assert restore_network(checkpoint, weights).eval()(inputs).shape == (2, 2)
