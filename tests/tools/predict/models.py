"""The same small network as a checkpoint and as an exported model."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from schemas.export.exported import ExportedModel
from schemas.shared.manifest import ImageForm
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.transforms import Normalize, ToTensor, image_after
from stages.export.onnx_file import OPSET, build_onnx
from stages.export.onnx_model import build_file
from stages.export.program import Program
from stages.vision.checkpoint import read_checkpoint, restore_network, write_checkpoint
from stages.vision.networks import build_network
from tests.vision.documents import TINY_CNN, make_checkpoint

CLASSES = ("ant", "bee", "unknown")
IMAGE = ImageForm(color="rgb", height_px=16, width_px=12, resize="pad")


def write_tiny_checkpoint(path: Path, **changes: Any) -> Checkpoint:
    """Write a checkpoint of random weights, sure enough of its predictions that they differ."""
    image = changes.get("image", IMAGE)
    channels = image.num_channels
    preprocessing = changes.setdefault(
        "preprocessing",
        (
            ToTensor(name="ToTensor"),
            Normalize(name="Normalize", mean=(0.4,) * channels, std=(0.2,) * channels),
        ),
    )
    torch.manual_seed(0)
    network = build_network(TINY_CNN, image=image_after(image, preprocessing), num_classes=len(CLASSES))
    weights = {
        name: tensor * 3 if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    checkpoint = make_checkpoint(weights, **{"classes": CLASSES, "image": image, **changes})
    write_checkpoint(path, checkpoint, weights)
    return checkpoint


def export(source: Path, path: Path) -> ExportedModel:
    """Write a checkpoint as an ONNX file."""
    checkpoint, weights = read_checkpoint(source)
    program = Program(checkpoint, restore_network(checkpoint, weights).eval()).eval()
    form = checkpoint.image
    example = torch.zeros(2, form.height_px, form.width_px, form.num_channels, dtype=torch.uint8)
    with torch.no_grad():
        outputs = program(example)
    graph = build_onnx(program, example)
    exported = ExportedModel(
        version=1,
        format="onnx",
        classes=checkpoint.classes,
        image=form,
        preprocessing=(),
        num_features=outputs[1].shape[1] if len(outputs) > 1 else None,
        calibration=checkpoint.calibration,
        num_test_images=1,
        test=checkpoint.epoch.val,
        network=checkpoint.network.name,
        num_parameters=1,
        opset=OPSET,
        threads=checkpoint.numerics.threads,
        graph_sha256=hashlib.sha256(graph).hexdigest(),
        weights_sha256=checkpoint.weights_sha256,
        dataset_sha256=checkpoint.dataset_sha256,
        fingerprint="0" * 16,
        libraries={},
    )
    path.write_bytes(build_file(graph, exported))
    return exported
