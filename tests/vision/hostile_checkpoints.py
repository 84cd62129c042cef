"""Hostile checkpoints: forged ones, whose hashes are right, and mutants of a whole one."""

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from stages.vision.checkpoint import hash_weights
from stages.vision.networks import build_network
from tests.vision.documents import TINY_CNN, make_checkpoint
from tests.vision.hostile_weights import mutate

Document = dict[str, Any]

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 1e308, 1e-308, -0.5, float("nan"), float("inf")),
    *("", "x" * 5000, "\x1b[2J\x07\u202e", "a\nb", "../../etc/passwd", "\ud800", "torchvision", "vit_h_14"),
    *([], {}, [[]], [0] * 3, ["a", "a"], {"name": "cnn"}, [1.0] * 5000),
)


def make_weights() -> dict[str, Tensor]:
    """Return the weights of a network of two classes."""
    image = make_checkpoint({}).image
    torch.manual_seed(0)
    return build_network(TINY_CNN, image=image, num_classes=2).state_dict()


def make_document(weights: dict[str, Tensor]) -> Document:
    """Return the document that goes with weights, as plain values."""
    document: Document = json.loads(make_checkpoint(weights).model_dump_json())
    return document


def seal(document: Document | str, weights: dict[str, Tensor]) -> bytes:
    """Return a checkpoint with this document, under hashes that are right."""
    if not isinstance(document, str):
        document = json.dumps({**document, "weights_sha256": hash_weights(weights)})
    sha256 = hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()
    return save(weights, metadata={"darkroom": json.dumps({"document": document, "sha256": sha256})})


def _with(*keys: str, value: Any) -> Callable[[Document], Document]:
    def change(document: Document) -> Document:
        inner = document
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return document

    return change


def _network(name: str, **arguments: Any) -> Callable[[Document], Document]:
    return _with("network", value={"name": name, "arguments": arguments})


FORGED: dict[str, Callable[[Document], Document]] = {
    "the largest cnn": _network("cnn", channels=[4096] * 12, kernel_size=11, dropout=0.0),
    "the largest resnet": _network("resnet", widths=[4096] * 8, blocks_per_stage=64, stem_stride=1),
    "the largest of torchvision": _network("torchvision", model="regnet_y_128gf", weights=None),
    "no model of torchvision": _network("torchvision", model="vit_x", weights=None),
    "images of 10^9 px": _with("image", "height_px", value=10**9),
    "10^9 threads": _with("numerics", "threads", value=10**9),
    "an escape in a class": _with("classes", value=["ant", "\x1b]0;owned\x07\x1b[2J"]),
    "a direction mark in a class": _with("classes", value=["ant", "\u202egpj.exe"]),
    "a line end in a class": _with("classes", value=["ant", "a\nb"]),
    "a class of a megabyte": _with("classes", value=["ant", "x" * 10**6]),
    "an empty class": _with("classes", value=["ant", ""]),
    "a million classes": _with("classes", value=["x"] * 10**6),
    "a million wrong classes": _with("classes", value=[0] * 10**6),
    "a thousand transforms": lambda document: {
        **document,
        "preprocessing": [{"Resize": {"height_px": 4096, "width_px": 4096}}] * 1000
        + document["preprocessing"],
    },
    "a mean for each of nine channels": lambda document: {
        **document,
        "preprocessing": ["ToTensor", {"Normalize": {"mean": [0.5] * 9, "std": [0.5]}}],
    },
    "deep parameters": _with("parameters", value={"a": json.loads("[" * 400 + "]" * 400)}),
    "wide parameters": _with("parameters", value={"a": [[]] * 2 * 10**6}),
    "a class too many": _with("classes", value=["ant", "bee", "cat"]),
}
"""What changes a document into one that must be refused, by what is hostile about it. Its hashes fit."""

HARMLESS = {"deep parameters", "wide parameters"}
"""Of these, what may be read: parameters are for people, and nothing is rebuilt from them."""


def forge(name: str) -> bytes:
    """Return a forged checkpoint."""
    weights = make_weights()
    return seal(FORGED[name](make_document(weights)), weights)


def mutate_checkpoint(*, seed: int) -> bytes:
    """Return a checkpoint with changes: a third in its bytes, the others under hashes that fit."""
    generator = random.Random(seed)
    weights = make_weights()
    document = make_document(weights)
    match seed % 3:
        case 0:
            return mutate(seal(document, weights), seed=seed)
        case 1:
            for _ in range(generator.choice((1, 1, 1, 3))):
                _change_value(document, generator)
            return seal(document, weights)
    name = generator.choice(list(weights))
    tensor = weights.pop(name)
    for kept in generator.sample(
        [
            ("again", tensor.clone()),
            (name, tensor.double()),
            (name, tensor[..., None]),
            (name, tensor * 1e38),
        ],
        generator.randrange(3),
    ):
        weights[kept[0]] = kept[1].contiguous()
    return seal(document, weights)


def _change_value(document: Document, generator: random.Random) -> None:
    """Replace, remove, add or repeat a value anywhere in a document."""
    inner: Any = document
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = generator.choice(keys)
        if not isinstance(inner[key], dict | list) or not inner[key] or generator.random() < 0.3:
            break
        inner = inner[key]
    match generator.randrange(6):
        case 0 if isinstance(inner, dict):
            del inner[key]
        case 1 if isinstance(inner, dict):
            inner[generator.choice(("size", "\x1b[2J", "x" * 5000))] = generator.choice(ODD_VALUES)
        case 2 if isinstance(inner, list):
            inner.extend([inner[key]] * generator.choice((1, 1000)))
        case _:
            inner[key] = generator.choice(ODD_VALUES)
