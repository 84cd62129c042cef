"""What people write first: `python -m benchmarks.serve_plain CHECKPOINT PORT`.

FastAPI, PIL, torchvision's transforms and the network, all in the handler.
"""

import io
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision import transforms

from schemas.vision.transforms import Normalize
from stages.vision.checkpoint import read_checkpoint, restore_network


def main() -> None:
    """Serve a checkpoint."""
    model, port = Path(sys.argv[1]), int(sys.argv[2])
    checkpoint, weights = read_checkpoint(model)
    network = restore_network(checkpoint, weights).eval()
    (normalize,) = (each for each in checkpoint.preprocessing if isinstance(each, Normalize))
    form = checkpoint.image
    transform: Any = transforms.Compose(
        [
            transforms.Resize((form.height_px, form.width_px)),
            transforms.ToTensor(),
            transforms.Normalize(normalize.mean, normalize.std),
        ]
    )
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: UploadFile) -> dict[str, object]:
        image = Image.open(io.BytesIO(await request.read())).convert(
            "L" if form.color == "grayscale" else "RGB"
        )
        with torch.no_grad():
            probabilities = torch.softmax(network(transform(image).unsqueeze(0)), dim=1)[0]
        best = int(probabilities.argmax())
        return {"predicted": checkpoint.classes[best], "probabilities": probabilities.tolist()}

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
