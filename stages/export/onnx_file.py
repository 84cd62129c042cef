"""Writes ONNX: the program as a graph without a trace of the machine that wrote it."""

import io
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch

from stages.export.program import Program
from stages.shared.errors import InputError

OPSET = 20
"""Of ONNX's operators: onnxruntime 1.17 and later run it."""


def trace_onnx(program: Program, example: torch.Tensor) -> bytes:
    """Return the bytes of an ONNX model without metadata, the same for the same program.

    Args:
        program: In evaluation mode, on the CPU.
        example: Images uint8 (2, height, width, channels); the graph takes any number.

    Raises:
        InputError: An operator of the network cannot be exported.
    """
    names = ["probabilities", "embeddings"][: len(program(example))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program,
            (example,),
            input_names=["images"],
            output_names=names,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def strip(message: Any) -> None:
    """Remove from a protobuf message, in place, all metadata: stack traces, paths, names of Python code."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                strip(part)
