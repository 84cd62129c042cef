"""LitServe with an exported model, in batches: `python -m benchmarks.serve_litserve MODEL PORT`."""

import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import UploadFile
from numpy.typing import NDArray
from PIL import Image

from stages.export.onnx_model import OnnxModel, read_onnx

MAX_BATCH_SIZE = 32
BATCH_TIMEOUT_SECONDS = 0.005
NUM_WORKERS = 2


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """Decodes with PIL, and runs onnxruntime's session on a batch."""

    def __init__(self, model: Path) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_SECONDS)
        self._model = model

    def setup(self, device: str) -> None:
        """Load the model, in a process of LitServe's."""
        file = read_onnx(self._model)
        self._exported = file.exported
        self._session = OnnxModel(file)._session

    def decode_request(self, request: UploadFile) -> NDArray[np.uint8]:
        """Return a picture's pixels (height, width, channels)."""
        form = self._exported.image
        image = Image.open(request.file).convert("L" if form.color == "grayscale" else "RGB")
        image = image.resize((form.width_px, form.height_px), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.uint8).reshape(form.height_px, form.width_px, form.num_channels)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return several pictures as one array."""
        return np.stack(inputs)

    def predict(self, x: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities (N, num_classes)."""
        return np.asarray(self._session.run(["probabilities"], {"images": x})[0])

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return each picture's row."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Return what is sent as JSON."""
        return {"predicted": self._exported.classes[int(output.argmax())], "probabilities": output.tolist()}


def main() -> None:
    """Serve an exported model."""
    server = litserve.LitServer(
        Classifier(Path(sys.argv[1])), accelerator="cpu", workers_per_device=NUM_WORKERS
    )
    server.run(port=int(sys.argv[2]), log_level="warning", access_log=False, generate_client_file=False)


if __name__ == "__main__":
    main()
