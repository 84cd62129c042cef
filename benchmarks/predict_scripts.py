"""What predict is compared with: `python -m benchmarks.predict_scripts plain|tuned FOLDER --output FILE`."""

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from schemas.vision.checkpoint import Checkpoint
from schemas.vision.transforms import Normalize
from stages.vision.checkpoint import read_checkpoint, restore_network

BATCH_SIZE = 64


def main() -> None:
    """Predict every JPEG of a folder by one of the two scripts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("script", choices=("plain", "tuned"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    checkpoint, weights = read_checkpoint(Path("data/model/best.safetensors"))
    network = restore_network(checkpoint, weights).eval()
    torch.set_num_threads(checkpoint.numerics.threads)
    paths = sorted(arguments.folder.rglob("*.jpg"))
    predict = predict_plainly if arguments.script == "plain" else predict_in_batches
    with arguments.output.open("w") as file, torch.inference_mode():
        file.write("path,label,probability\n")
        predictions = predict(paths, network, checkpoint)
        for path, logits in zip(paths, predictions, strict=True):
            probabilities = logits.softmax(dim=0)
            best = int(probabilities.argmax())
            file.write(f"{path},{checkpoint.classes[best]},{probabilities[best]:.9g}\n")


def predict_plainly(paths: list[Path], network: nn.Module, checkpoint: Checkpoint) -> Iterator[Tensor]:
    """Yield the logits of one image after the other."""
    from PIL import Image
    from torchvision import transforms

    (normalize,) = (each for each in checkpoint.preprocessing if isinstance(each, Normalize))
    form = checkpoint.image
    transform: Any = transforms.Compose(
        [
            transforms.Resize((form.height_px, form.width_px)),
            transforms.ToTensor(),
            transforms.Normalize(normalize.mean, normalize.std),
        ]
    )
    for path in paths:
        image = Image.open(path).convert("RGB")
        yield network(transform(image)[None])[0]


def predict_in_batches(paths: list[Path], network: nn.Module, checkpoint: Checkpoint) -> Iterator[Tensor]:
    """Yield the logits, decoding ahead in threads."""
    cv2.setNumThreads(1)
    (normalize,) = (each for each in checkpoint.preprocessing if isinstance(each, Normalize))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalize.mean, normalize.std))
    form = checkpoint.image

    def decode(path: Path) -> np.ndarray:
        # Half of 500 x 375 is less than twice 128 px: these photographs are decoded whole, as ours are.
        pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
        assert pixels is not None
        return cv2.resize(pixels, (form.width_px, form.height_px), interpolation=cv2.INTER_AREA)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        images = threads.map(decode, paths)
        while batch := list(islice(images, BATCH_SIZE)):
            pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float().div_(255)
            yield from network(pixels.sub_(mean).div_(std))


if __name__ == "__main__":
    main()
