"""Forged ONNX files: their hashes are right, and their graphs do what no export does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from stages.export.onnx_model import build_file
from tests.export.onnx_samples import describe_graph, make_graph

ELSEWHERE = "below/weights.bin"
"""A file below the current folder, from which a forged graph would take its weights."""

MATRIX = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)


def make_external(name: str, location: str = ELSEWHERE) -> TensorProto:
    """Return a tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=MATRIX.shape)
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def _add_node(graph: GraphProto, op_type: str, output: str, **attributes: Any) -> NodeProto:
    graph.node.insert(0, helper.make_node(op_type, [], [output], **attributes))
    node: NodeProto = graph.node[0]
    return node


def _use_external(model: ModelProto, location: str = ELSEWHERE) -> None:
    model.graph.initializer[0].CopyFrom(make_external("weights", location))


def _use_external_constant(model: ModelProto) -> None:
    _add_node(model.graph, "Constant", "more", value=make_external("more"))


def _make_branch() -> GraphProto:
    output = helper.make_tensor_value_info("more", TensorProto.FLOAT, [3, 3])
    constant = helper.make_node("Constant", [], ["more"], value=make_external("more"))
    return helper.make_graph([constant], "branch", [], [output])


def _use_external_in_branch(model: ModelProto) -> None:
    node = _add_node(model.graph, "If", "chosen", then_branch=_make_branch(), else_branch=_make_branch())
    node.input.append("condition")
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))


def _use_external_in_function(model: ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["more"], value=make_external("more"))
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("local", "Weights", [], ["more"], [constant], imports))
    model.opset_import.append(helper.make_opsetid("local", 1))
    _add_node(model.graph, "Weights", "taken").domain = "local"


def _use_external_in_sparse(model: ModelProto) -> None:
    indices = numpy_helper.from_array(np.arange(9), "indices")
    sparse = helper.make_sparse_tensor(make_external("sparse"), indices, [3, 3])
    model.graph.sparse_initializer.append(sparse)


def _use_sparse_attribute(model: ModelProto) -> None:
    indices = numpy_helper.from_array(np.arange(9), "indices")
    attribute = AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.CopyFrom(helper.make_sparse_tensor(make_external("sparse"), indices, [3, 3]))
    _add_node(model.graph, "Constant", "more").attribute.append(attribute)


def _train(model: ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(make_external("more"))


def _use_foreign_operator(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    node = _add_node(model.graph, "EPContext", "more", ep_cache_context=ELSEWHERE, embed_mode=0)
    node.domain = "com.microsoft"


def _compute(*nodes: NodeProto, **tensors: Sequence[int]) -> Callable[[ModelProto], None]:
    """Return what adds the largest of some numbers, `many`, to the logits."""

    def change(model: ModelProto) -> None:
        graph = model.graph
        for name, values in tensors.items():
            graph.initializer.append(numpy_helper.from_array(np.array(values), name))
        last = graph.node.pop()
        graph.node.extend(nodes)
        graph.node.append(helper.make_node("ReduceMax", ["many"], ["most"], keepdims=0))
        graph.node.append(helper.make_node("Add", ["logits", "most"], ["sums"]))
        graph.node.append(helper.make_node("Softmax", ["sums"], last.output, axis=1))

    return change


def _claim_shape(model: ModelProto) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([3, 10**12])


def _return_more(model: ModelProto) -> None:
    model.graph.node[-1].input[0] = "floats"


_ELSEWHERE = "it holds weights that are in another file"
FORGED: dict[str, tuple[Callable[[ModelProto], object], str]] = {
    "weights elsewhere": (_use_external, _ELSEWHERE),
    "weights above": (
        lambda model: _use_external(model, "../x"),
        "it holds weights that are in another file",
    ),
    "a constant elsewhere": (_use_external_constant, _ELSEWHERE),
    "a branch": (_use_external_in_branch, "it holds a loop or a branch"),
    "a function": (_use_external_in_function, "it holds functions"),
    "sparse weights": (_use_external_in_sparse, "it holds sparse weights"),
    "a sparse constant": (_use_sparse_attribute, "it holds sparse weights"),
    "training": (_train, "it holds steps of training"),
    "a foreign operator": (_use_foreign_operator, "it holds operators that are not ONNX's own"),
    "a constant of 4 TB": (
        _compute(helper.make_node("ConstantOfShape", ["shape"], ["many"]), shape=[10**12]),
        "requested bytes",
    ),
    "an image of 4 TB": (
        _compute(
            helper.make_node("ReduceMax", ["floats"], ["one"], keepdims=0),
            helper.make_node("Expand", ["one", "shape"], ["many"]),
            shape=[10**6, 10**6],
        ),
        "requested bytes",
    ),
    "a shape that is not there": (_claim_shape, "cannot run it"),
    "other outputs": (_return_more, "cannot compute an image with it"),
}
"""What changes a whole model, and what the refusal says."""


def forge(name: str) -> bytes:
    """Return a forged file."""
    model = onnx.load_model_from_string(make_graph())
    FORGED[name][0](model)
    graph = bytes(model.SerializeToString())
    return build_file(graph, describe_graph(graph))
