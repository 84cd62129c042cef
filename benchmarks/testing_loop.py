"""The testing loop against bare forward passes of the same network, at the same precision.

    python -m benchmarks.testing_loop [--images 20000] [--rounds 7] [--precision float32]

The loop reads packed images, applies the checkpoint's transforms and gathers logits; the bare passes get the
same batches ready in memory. Wanted: at least 0.8 of the speed of the bare passes, a ratio of 1.25 or less.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.generated_project import write_project
from benchmarks.timing import measure_alternately, print_table
from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn
from schemas.vision.runtime import Numerics
from stages.vision.checkpoint import read_checkpoint, restore_network
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.inference import compute_logits
from stages.vision.runtime import autocast, make_deterministic
from stages.vision.transforms import build_transforms

BATCH_SIZE = 256
CASES = {
    "28 px grey, as the sample": (
        ImageForm(color="grayscale", height_px=28, width_px=28, resize="squish"),
        Cnn(channels=(16, 32, 64), kernel_size=3, dropout=0.0),
    ),
    "64 px colour": (
        ImageForm(color="rgb", height_px=64, width_px=64, resize="squish"),
        Cnn(channels=(32, 64, 128), kernel_size=3, dropout=0.0),
    ),
}


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    numerics = Numerics(threads=2, precision=arguments.precision)
    for name, (form, cnn) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_project(Path(folder), form, num_images=arguments.images, num_classes=10, threads=2, cnn=cnn)
            print(f"\n{name}, {arguments.images:,} images, {arguments.precision}:")
            measure(Path(folder), numerics=numerics, rounds=arguments.rounds)


def measure(folder: Path, *, numerics: Numerics, rounds: int) -> None:
    """Let the loop and the bare passes take turns, and print what they take."""
    checkpoint, weights = read_checkpoint(folder / "data" / "model" / "best.safetensors")
    make_deterministic(numerics)
    network = restore_network(checkpoint, weights).eval()
    device = torch.device("cpu")
    prepared = folder / "data" / "prepared"
    images = PreparedImages(
        prepared, read_manifest(prepared), "test", transform=build_transforms(checkpoint.preprocessing)
    )
    batches = [
        batch.contiguous(memory_format=torch.channels_last)
        for batch, _ in build_loader(images, batch_size=BATCH_SIZE)
    ]

    def loop() -> Tensor:
        loader = build_loader(images, batch_size=BATCH_SIZE)
        return compute_logits(network, loader, device=device, numerics=numerics)[0]

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            with autocast(device, numerics):
                network(batch)

    print_table(
        measure_alternately({"bare forward passes": bare, "testing loop": loop}, rounds=rounds),
        base="bare forward passes",
    )


if __name__ == "__main__":
    main()
