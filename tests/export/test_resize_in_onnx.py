"""A graph with resizing and cropping gives, by onnxruntime, what evaluation computes."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from schemas.shared.manifest import ImageForm
from schemas.vision.transforms import CenterCrop, Normalize, Resize, ToTensor, image_after
from stages.export.onnx_file import build_onnx
from stages.export.onnx_model import OnnxModel, build_file, read_onnx
from stages.export.program import Program
from stages.vision.inference import compute_probabilities
from stages.vision.networks import build_network
from stages.vision.transforms import build_transforms
from tests.export.onnx_samples import describe_graph
from tests.vision.documents import TINY_CNN, make_checkpoint


def test_photographs_through_the_graph(tmp_path: Path) -> None:
    """Antialiased resizing of bytes, nearest pixels, padding and cropping, for batches of 1, 7 and 64."""
    image = ImageForm(color="rgb", height_px=40, width_px=50, resize="crop")
    preprocessing = (
        Resize(name="Resize", height_px=33, width_px=21),
        Resize(name="Resize", height_px=30, width_px=24, interpolation="nearest"),
        CenterCrop(name="CenterCrop", height_px=20, width_px=28),
        ToTensor(name="ToTensor"),
        Normalize(name="Normalize", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
    )
    torch.manual_seed(0)
    network = build_network(TINY_CNN, image=image_after(image, preprocessing), num_classes=2).eval()
    checkpoint = make_checkpoint({}, image=image, preprocessing=preprocessing)
    images = np.random.default_rng(0).integers(0, 256, (64, 40, 50, 3), dtype=np.uint8)
    with torch.no_grad():
        graph = build_onnx(Program(checkpoint, network).eval(), torch.from_numpy(images[:2]))
        pixels = build_transforms(preprocessing)(torch.from_numpy(images).permute(0, 3, 1, 2))
        expected = compute_probabilities(network(pixels), checkpoint.calibration).numpy()
    path = tmp_path / "model.onnx"
    document = describe_graph(
        graph,
        classes=checkpoint.classes,
        image=image,
        num_features=None,
        graph_sha256=hashlib.sha256(graph).hexdigest(),
    )
    path.write_bytes(build_file(graph, document))
    model = OnnxModel(read_onnx(path))
    for size in (1, 7, 64):
        computed = [model.compute_probabilities(images[at : at + size]) for at in range(0, 64, size)]
        np.testing.assert_allclose(np.concatenate(computed), expected, rtol=0, atol=1e-6)
        (whole,) = model._session.run(["probabilities"], {"images": images[:size]})
        np.testing.assert_allclose(whole, expected[:size], rtol=0, atol=1e-6)
