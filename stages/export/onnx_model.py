"""An exported ONNX file, checked and run. Needs NumPy and onnxruntime, never PyTorch.

The file's document is in its metadata under `darkroom`, beside its own SHA-256, and holds the SHA-256 of all
other bytes. So every byte is checked before onnxruntime reads one, and `read_onnx` needs no library at all.
A forged file costs what it computes, and no more memory than MAX_MEMORY_FRACTION of the machine's.
"""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.export.exported import EXPORT_VERSION, ExportedModel
from stages.export.onnx_bytes import add_metadata, check_contents, split
from stages.shared.errors import InputError, describe_error
from stages.shared.files import MEND
from stages.shared.paths import MAKE_EXPORT
from stages.vision.checkpoint import read_sealed_file, seal

METADATA_KEY = "darkroom"

MAX_MEMORY_FRACTION = 0.5
"""Of the machine's memory: what all models of a process may take for what they compute."""

_MEND = f"{MEND}; {MAKE_EXPORT}"

Floats = npt.NDArray[np.float32]


class OnnxFile(NamedTuple):
    """An exported ONNX file that was read and checked."""

    path: Path
    exported: ExportedModel
    data: bytes


class OnnxModel:
    """The model in an ONNX file, ready to classify images.

    An image gets the same bits in a batch of any size, at any place in it.
    """

    def __init__(self, file: OnnxFile, *, threads: int | None = None) -> None:
        """Load a model, and have it compute one black image.

        Args:
            file: What `read_onnx` returned.
            threads: None for as many as the checkpoint was trained with.

        Raises:
            InputError: onnxruntime is missing or too old for it, or its graph does not compute what its
                document says.
        """
        self.exported = file.exported
        self._path = file.path
        self._session = _start_session(file, threads=threads or file.exported.threads)
        image = self.exported.image
        self._compute(
            np.zeros((1, image.height_px, image.width_px, image.num_channels), dtype=np.uint8),
            with_embeddings=self.exported.num_features is not None,
        )

    def compute_probabilities(self, images: npt.NDArray[np.uint8]) -> Floats:
        """Return calibrated probabilities float32 (N, num_classes) for images uint8 (N, H, W, C)."""
        (probabilities,) = self._compute(images, with_embeddings=False)
        return probabilities

    def compute_with_embeddings(self, images: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Return probabilities, and what the last layer takes, float32 (N, num_features), of the same pass.

        Raises:
            InputError: The network has no such layer.
        """
        if self.exported.num_features is None:
            raise InputError(f"{self.exported.network}: has no single layer whose inputs could be embeddings")
        probabilities, embeddings = self._compute(images, with_embeddings=True)
        return probabilities, embeddings

    def _compute(self, images: npt.NDArray[np.uint8], *, with_embeddings: bool) -> list[Floats]:
        """Return the graph's outputs, each float32 (N, so many values)."""
        widths = {"probabilities": len(self.exported.classes)}
        if with_embeddings:
            widths["embeddings"] = self.exported.num_features or 0
        computed = [np.empty((len(images), width), dtype=np.float32) for width in widths.values()]
        # One by one: onnxruntime adds up in another order for one image than for several.
        for at in range(len(images)):
            try:
                outputs = self._session.run(list(widths), {"images": images[at : at + 1]})
                for rows, output in zip(computed, outputs, strict=True):
                    rows[at] = np.reshape(output, rows.shape[1:])
            except Exception as error:  # onnxruntime raises many kinds, with a common base only in private
                raise InputError(
                    f"{self._path}: onnxruntime cannot compute an image with it ({_describe(error)}); "
                    f"export again with: {MAKE_EXPORT}"
                ) from None
        return computed


def read_onnx(path: Path) -> OnnxFile:
    """Read an exported ONNX file, and check every byte of it.

    Raises:
        InputError: The file is missing, damaged, of another version, not made by darkroom, or holds what no
            export does.
    """
    found: list[str] = []

    def find_envelope(data: bytes) -> str:
        graph_sha256, metadata = split(data)
        found.append(graph_sha256)
        if METADATA_KEY not in metadata:
            raise InputError(
                f"{path}: was not exported by darkroom: its metadata has no entry {METADATA_KEY}, so its "
                f"classes, preprocessing and calibration are not known; export one with: {MAKE_EXPORT}"
            )
        return metadata[METADATA_KEY]

    exported, data = read_sealed_file(
        path,
        ExportedModel,
        find_envelope=find_envelope,
        kind="ONNX file",
        version=EXPORT_VERSION,
        made_by=MAKE_EXPORT,
    )
    if found != [exported.graph_sha256]:
        raise InputError(f"{path}: is damaged (its graph does not have its recorded SHA-256); {_MEND}")
    try:
        check_contents(data)
    except ValueError as error:
        raise InputError(
            f"{path}: was not exported by darkroom: {error}; do not use it; export one with: {MAKE_EXPORT}"
        ) from None
    return OnnxFile(path, exported, data)


def build_file(graph: bytes, exported: ExportedModel) -> bytes:
    """Return an ONNX file: the bytes of a model without metadata, and its document as metadata."""
    return add_metadata(graph, METADATA_KEY, seal(exported))


def _start_session(file: OnnxFile, *, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{file.path}: the library onnxruntime, which runs it, is not installed; install it with: "
            "pip install onnxruntime"
        ) from None
    _limit_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and said once
    for key, value in {
        # Sleeping threads leave the other cores to those who decode.
        "session.intra_op.allow_spinning": "0",
        "session.use_env_allocators": "1",  # of `_limit_memory`
        "session.load_model_format": "ONNX",  # a file may be onnxruntime's own format as well
    }.items():
        options.add_session_config_entry(key, value)
    try:
        return onnxruntime.InferenceSession(
            file.data,
            options,
            providers=["CPUExecutionProvider"],
            # What it folds has no limit; an export has nothing to fold.
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:  # as in `_compute`
        exported = file.exported
        raise InputError(
            f"{file.path}: onnxruntime {onnxruntime.__version__} cannot run it, which needs opset "
            f"{exported.opset} and was written with onnxruntime {exported.libraries.get('onnxruntime', '?')} "
            f"({_describe(error)}); upgrade onnxruntime, or export again with: {MAKE_EXPORT}"
        ) from None


def _describe(error: Exception) -> str:
    """Return the first sentence of what onnxruntime says, without its codes and places in its own source."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ .*?\) (?=[A-Z])", "", str(error))
    text = re.sub(r"Non-zero status code .* running (\w+) node\. Name:.*? Status Message: ", r"\1: ", text)
    return describe_error(ValueError(text.split(". ")[0]))


@functools.cache
def _limit_memory() -> None:
    """Have onnxruntime refuse to take more memory than MAX_MEMORY_FRACTION of the machine's."""
    import onnxruntime
    import psutil

    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        ),
        onnxruntime.OrtArenaCfg({"max_mem": int(MAX_MEMORY_FRACTION * psutil.virtual_memory().total)}),
    )
