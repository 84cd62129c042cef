"""Writes ONNX: the program as a graph without a trace of the machine that wrote it, and its 8-bit form."""

import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.export.parity import Pixels
from stages.export.program import Program
from stages.shared.errors import InputError, describe_error

OPSET = 20
"""Of ONNX's operators: onnxruntime 1.18 and later run it."""

_MAX_BYTES = 2**31 - 2**20  # protobuf's limit, less what the document may take
_QUANTIZED = ["Conv", "Gemm", "MatMul"]


def build_onnx(program: Program, example: Tensor) -> bytes:
    """Return an ONNX model without metadata, the same bytes for the same program.

    Args:
        program: In evaluation mode, on the CPU.
        example: Images uint8 (2, height, width, channels); the graph takes any number.

    Raises:
        InputError: An operator of the network cannot be exported, or the model is too large for one file.
    """
    names = ["probabilities", "embeddings"][: len(program(example))]
    try:
        with _in_silence():
            traced = torch.onnx.export(
                program,
                (example,),
                input_names=["images"],
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"images": {0: torch.export.Dim("n")}},
                verbose=False,
            )
    except Exception as error:  # torch raises all sorts
        raise InputError(f"export.formats: found onnx, {_explain(error)}") from None
    assert traced is not None
    model = traced.model_proto
    _strip(model)
    if model.ByteSize() > _MAX_BYTES:
        raise InputError(
            f"export.formats: found onnx, and the network has {model.ByteSize() / 2**30:.1f} GiB of weights; "
            "allowed: less than 2 GiB, the most that one ONNX file holds"
        )
    return bytes(model.SerializeToString(deterministic=True))


def quantize(graph: bytes, images: Pixels) -> bytes:
    """Return an ONNX model with weights and activations of 8 bits, by static quantization.

    Weights have a scale for each output channel. They use 7 of their 8 bits: on CPUs without VNNI, products
    of full ones overflow silently.

    Args:
        graph: What `build_onnx` returned.
        images: Training images uint8 (n, height, width, channels), for the ranges of activations.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(images)

        def get_next(self) -> dict[str, Pixels] | None:
            image = next(self._rest, None)
            return None if image is None else {"images": image[None]}

    with _in_silence(), tempfile.TemporaryDirectory() as folder:
        plain, prepared, target = (Path(folder, f"{name}.onnx") for name in ("plain", "prepared", "int8"))
        plain.write_bytes(graph)
        quantization.quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        model = onnx.load(target)
    _strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def _strip(message: Any) -> None:
    """Remove from a protobuf message, in place, all metadata: stack traces, paths, names of Python code."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _strip(part)


def _explain(error: BaseException) -> str:
    """Say what could not be exported: the operator, where the error or one of its causes names one."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    found = next(filter(None, (re.search(r"OpOverload\(op='([\w.]+)'", str(each)) for each in causes)), None)
    if found:
        return f"and the network's operator {found[1]} has no counterpart in ONNX; choose another network"
    return f"and the network cannot be exported ({describe_error(causes[-1])}); choose another network"


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Keep what libraries print and warn of on the way to themselves: what goes wrong is raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
