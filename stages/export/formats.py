"""The formats: one file each, written, tested on the test split, and compared with the checkpoint."""

import hashlib
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import torch

from schemas.export.export import Export, Format
from schemas.export.export_metrics import ExportMetrics
from schemas.export.exported import ExportedModel
from stages.export.onnx_file import OPSET, build_onnx, quantize
from stages.export.onnx_model import OnnxModel, build_file, read_onnx
from stages.export.parity import Comparison, Compute, compare, find_failed_gates, write_parity
from stages.export.program import Program
from stages.export.run import ExportRun, load_run
from stages.export.torch_program import load_program, save_program
from stages.export.web_page import write_page
from stages.shared.errors import InputError
from stages.shared.files import check_free_space
from stages.shared.paths import EXPORT, MODEL
from stages.shared.progress import show_step
from stages.vision.runtime import list_libraries

FILES: dict[Format, str] = {
    "onnx": "model.onnx",
    "onnx_int8": "model_int8.onnx",
    "torch_export": "model.pt2",
    "page": "page.html",
}
NUM_CALIBRATION_IMAGES = 512
"""Training images, spread evenly over the split, that tell the ranges of activations for int8."""

_NUM_TIMED = 20
_TABLE_BYTES_PER_IMAGE = 200


def write_models(folder: Path, section: Export) -> tuple[ExportMetrics, list[str]]:
    """Write every format of the section into a folder, and parity.csv.

    Returns:
        What was measured, and lines that say it.

    Raises:
        InputError: A model does not pass its gates, or cannot be exported.
    """
    run = load_run(section)
    weights_bytes = (MODEL / f"{section.checkpoint}.safetensors").stat().st_size
    table_bytes = _TABLE_BYTES_PER_IMAGE * len(run.images.labels)
    check_free_space(EXPORT, num_bytes=len(section.formats) * (weights_bytes + table_bytes))
    program = Program(run.checkpoint, run.network).eval()
    with torch.no_grad():
        writer = _Writer(run, program)
        comparisons, lines = [], []
        for name in section.formats:
            path = folder / FILES[name]
            with show_step(f"export: writing {path.name}"):
                compute = writer.write(name, path)
            comparisons.append(compare(name, path, compute, run.images))
            lines.append(_describe(comparisons[-1], milliseconds=_time_one(compute, run)))
        own = _time_one(lambda images: program(torch.from_numpy(images))[0].numpy(), run)
    failed = [line for each in comparisons for line in find_failed_gates(each, run.images, section)]
    if failed:
        raise InputError("\n".join([*failed, "nothing was published"]))
    write_parity(folder / "parity.csv", comparisons, run.images)
    lines.append(f"export: the checkpoint by PyTorch takes {own:.2f} ms an image, one by one")
    return ExportMetrics(**{each.format: each.metrics for each in comparisons}), lines


class _Writer:
    """Writes the formats of one program; the ONNX graph is traced once."""

    def __init__(self, run: ExportRun, program: Program) -> None:
        self._run = run
        self._program = program
        self._example = torch.zeros_like(torch.from_numpy(run.images.read(slice(0, 1)))).repeat(2, 1, 1, 1)
        self._graph: bytes | None = None

    def write(self, name: Format, path: Path) -> Compute:
        """Write a format and return what runs the file."""
        if name == "torch_export":
            save_program(path, self._program, self._example, document=self._describe(name, graph=None))
            return load_program(path)
        if self._graph is None:
            self._graph = build_onnx(self._program, self._example)
        graph = self._graph
        if name == "onnx_int8":
            graph = quantize(graph, self._run.read_training_images(NUM_CALIBRATION_IMAGES))
        # A page holds the file of the format onnx, byte for byte.
        document = self._describe("onnx" if name == "page" else name, graph=graph)
        model = path.with_suffix(".onnx")
        model.write_bytes(build_file(graph, document))
        compute = OnnxModel(read_onnx(model)).compute_probabilities
        if name == "page":
            write_page(path, model.read_bytes(), document)
            model.unlink()
        return compute

    def _describe(self, name: Format, *, graph: bytes | None) -> ExportedModel:
        checkpoint = self._run.checkpoint
        model = getattr(checkpoint.network.arguments, "model", "")
        outputs = self._program(self._example)
        libraries = list_libraries(checkpoint.network.name, checkpoint.preprocessing)
        if graph is not None:
            libraries |= {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
        return ExportedModel(
            version=1,
            format=name,
            classes=checkpoint.classes,
            image=checkpoint.image,
            preprocessing=tuple(each.model_dump(mode="json") for each in checkpoint.preprocessing),
            num_features=outputs[1].shape[1] if len(outputs) > 1 else None,
            calibration=checkpoint.calibration,
            num_test_images=len(self._run.images.labels),
            test=self._run.test,
            network=f"{checkpoint.network.name} {model}".strip(),
            num_parameters=sum(each.numel() for each in self._run.network.parameters()),
            opset=None if graph is None else OPSET,
            threads=checkpoint.numerics.threads,
            graph_sha256=None if graph is None else hashlib.sha256(graph).hexdigest(),
            weights_sha256=checkpoint.weights_sha256,
            dataset_sha256=checkpoint.dataset_sha256,
            fingerprint=checkpoint.inputs.fingerprint,
            libraries=libraries,
        )


def _time_one(compute: Compute, run: ExportRun) -> float:
    """Return the median milliseconds for one image."""
    image = run.images.read(slice(0, 1))
    seconds = []
    for _ in range(_NUM_TIMED):
        started = time.perf_counter()
        compute(image)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def _describe(comparison: Comparison, *, milliseconds: float) -> str:
    metrics = comparison.metrics
    in_float32 = metrics.agreement_in_float32
    note = "" if in_float32 == metrics.agreement else f" ({in_float32:.2%} in float32)"
    return (
        f"export: {comparison.path.name}: {metrics.num_bytes / 2**20:.2f} MiB; {metrics.agreement:.2%} of "
        f"the predictions are the checkpoint's{note}, largest probability change "
        f"{metrics.max_probability_change:.2g}; accuracy {metrics.accuracy:.2%}, "
        f"{metrics.accuracy_change:+.2%} (95 % confidence interval: "
        f"{metrics.accuracy_change_low:+.2%} to {metrics.accuracy_change_high:+.2%}); "
        f"{milliseconds:.2f} ms an image, one by one"
    )
