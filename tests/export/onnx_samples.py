"""A small ONNX file of darkroom's, written without PyTorch."""

import hashlib
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from schemas.export.exported import ExportedModel
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Scores
from stages.export.onnx_model import build_file
from tests.vision.documents import CALIBRATION

FORM = ImageForm(color="rgb", height_px=4, width_px=5, resize="squish")
CLASSES = ("ant", "café, crème", "fox")


def make_graph(*, opset: int = 20) -> bytes:
    """Return a model: means of channels are the embeddings, a product with fixed weights the logits."""
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["embeddings"], keepdims=0),
        helper.make_node("MatMul", ["embeddings", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    shape: list[str | int | None] = ["n", FORM.height_px, FORM.width_px, FORM.num_channels]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 3]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 2]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(model.SerializeToString())


def describe_graph(graph: bytes, **changes: Any) -> ExportedModel:
    """Return a document that goes with a graph."""
    return ExportedModel(
        **{
            "version": 1,
            "format": "onnx",
            "classes": CLASSES,
            "image": FORM,
            "preprocessing": ("ToTensor",),
            "num_features": 3,
            "calibration": CALIBRATION,
            "num_test_images": 9,
            "test": Scores(loss=0.5, accuracy=0.5, balanced_accuracy=0.25, macro_f1=0.0),
            "network": "cnn",
            "num_parameters": 9,
            "opset": 20,
            "threads": 1,
            "graph_sha256": hashlib.sha256(graph).hexdigest(),
            "weights_sha256": "1" * 64,
            "dataset_sha256": "2" * 64,
            "fingerprint": "3" * 16,
            "libraries": {"onnxruntime": "1.32.0"},
            **changes,
        }
    )


def make_file(**changes: Any) -> bytes:
    """Return the bytes of a whole file."""
    graph = make_graph()
    return build_file(graph, describe_graph(graph, **changes))


def add_metadata(data: bytes, key: str, value: str) -> bytes:
    """Return an ONNX file with one more entry."""
    model = onnx.load_model_from_string(data)
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value
    return bytes(model.SerializeToString())
