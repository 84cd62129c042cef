"""What the tests of predict share."""

from pathlib import Path

import pytest

from schemas.vision.checkpoint import ConfidenceLevel
from tests.tools.predict.models import export, write_tiny_checkpoint
from tests.vision.documents import CALIBRATION


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint that promises something, and the same network exported."""
    folder = tmp_path_factory.mktemp("models")
    sure = ConfidenceLevel(probability=0.8, num_images=400, num_correct=400, num_effective=400.0)
    calibration = CALIBRATION.model_copy(update={"levels": (sure, CALIBRATION.levels[-1])})
    write_tiny_checkpoint(folder / "net.safetensors", calibration=calibration)
    export(folder / "net.safetensors", folder / "net.onnx")
    return folder
