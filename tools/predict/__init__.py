"""predict: classify new images with nothing but a model file, from a command line or from Python."""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.vision.runtime import Device
    from tools.predict.classifier import Classifier


def load(
    path: str | PathLike[str] = "data/model/best.safetensors",
    *,
    device: "Device" = "auto",
    threads: int | None = None,
) -> "Classifier":
    """Load a model for predictions in Python.

    Args:
        path: A checkpoint (.safetensors) or an exported model (.onnx); the latter needs no torch.
        device: auto, cpu, cuda or mps; an exported model runs on the CPU.
        threads: How many threads compute; None for as many as `python -m tools.predict` takes.

    Raises:
        InputError: The file is missing, damaged or not written by darkroom, the device is not there, or an
            argument is not what it may be.
    """
    from pathlib import Path

    from tools.predict.classifier import Classifier, check_load_options
    from tools.predict.model import open_model

    check_load_options(device, threads)
    file = open_model(Path(path))
    return Classifier(file, file.load(device=device, place="device", threads=threads))
