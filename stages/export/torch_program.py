"""Writes and runs .pt2 files, the programs of torch.export, without a trace of the machine."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from schemas.export.exported import ExportedModel
from stages.export.parity import Compute
from stages.export.program import Program
from stages.shared.errors import InputError, describe_error

DOCUMENT = "darkroom.json"
"""The extra file in a .pt2 file: an ExportedModel as JSON."""


def save_program(path: Path, program: Program, example: Tensor, *, document: ExportedModel) -> None:
    """Write a program for images uint8 (N, height, width, channels), any N.

    Args:
        path: The file to write.
        program: In evaluation mode, on the CPU.
        example: Images uint8 (2, height, width, channels).
        document: What goes with it.

    Raises:
        InputError: The network cannot be traced.
    """
    try:
        exported = torch.export.export(program, (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
    except Exception as error:  # torch raises all sorts
        raise InputError(
            f"export.formats: found torch_export, and the network cannot be exported "
            f"({describe_error(error)}); choose another network"
        ) from None
    for module in exported.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # with paths of this machine
                node.meta.pop("nn_module_stack", None)
    exported.example_inputs = None  # a pickle
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of views, whose tensors it then finds
        torch.export.save(exported, path, extra_files={DOCUMENT: document.model_dump_json()})


def load_program(path: Path) -> Compute:
    """Return what runs a .pt2 file."""
    program = torch.export.load(path).module()

    def compute(images):  # type: ignore[no-untyped-def]
        return program(torch.from_numpy(images))[0].numpy()

    return compute
