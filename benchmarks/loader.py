"""How fast training images are read and changed, against torchvision's ImageFolder under a DataLoader.

    python -m benchmarks.loader [--photographs 600]

It reads CIFAR-10, `cifar10/train/<class>/*.jpg` in an archive, both ways with random crop, flip and
normalization; or photographs of 500 x 375 px, prepared at 256 px, with random resized crop to 224 px, flip,
color jitter and normalization. The files are written to a temporary folder and prepared by the stages.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision import transforms as plain
from torchvision.datasets import ImageFolder

from benchmarks.photographs import write_photographs
from benchmarks.timing import measure_alternately
from benchmarks.transforms import JITTER, MEAN, STD, make_schema
from schemas.__main__ import format_yaml
from schemas.vision.transforms import Transform
from stages.params.document import read_document
from stages.shared.process import keep_freed_memory
from stages.train.parts import PartSampler
from stages.train.sampler import EpochSampler
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.transforms import build_transforms

ROOT = Path(__file__).parents[1]
WANTED_RATIO = 5.0  # on photographs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--archive", type=Path, default=ROOT.parent / "shared/data/cifar10.zip")
    parser.add_argument("--num-images", type=int, default=50_000, help="default: %(default)s")
    parser.add_argument("--photographs", type=int, help="read so many photographs instead of the archive")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    keep_freed_memory()  # as the stage does when it starts
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.photographs:
            write_photographs(folder / "images", arguments.photographs)
            prepare(folder, side_px=256)
            crop = plain.RandomResizedCrop(224)
            first: list[Any] = [crop, plain.RandomHorizontalFlip(), plain.ColorJitter(**JITTER)]
            ours = [make_schema("RandomResizedCrop", height_px=224, width_px=224)]
            ours += [make_schema("RandomHorizontalFlip"), make_schema("ColorJitter", **JITTER)]
            batch_size = 64
        else:
            unpack(arguments.archive, folder / "images", num_images=arguments.num_images)
            prepare(folder, side_px=32)
            first = [plain.RandomCrop(32, padding=4), plain.RandomHorizontalFlip()]
            ours = [make_schema("RandomCrop", padding=4), make_schema("RandomHorizontalFlip")]
            batch_size = 256
        compare(folder, ours, first, batch_size=batch_size, rounds=arguments.rounds)
        if arguments.photographs:
            print(f"(wanted: {WANTED_RATIO:.0f} times the best)")


def unpack(archive: Path, folder: Path, *, num_images: int) -> None:
    """Write the first training images of each class, num_images in all, as folder/<class>/<name>."""
    with zipfile.ZipFile(archive) as source:
        names = [name for name in source.namelist() if "/train/" in name and name.endswith(".jpg")]
        classes = sorted({Path(name).parent.name for name in names})
        for label in classes:
            (folder / label).mkdir(parents=True)
            of_class = [name for name in names if Path(name).parent.name == label]
            for name in of_class[: num_images // len(classes)]:
                (folder / label / Path(name).name).write_bytes(source.read(name))


def prepare(folder: Path, *, side_px: int = 32) -> None:
    """Run ingest and prepare-dataset on folder/images; their outputs are below folder/data."""
    params = read_document(ROOT / "params.yaml").data
    params["dataset"] |= {"source": "images", "color": "rgb", "height_px": side_px, "width_px": side_px}
    (folder / "params.yaml").write_text(format_yaml(params))
    (folder / "data").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for stage in ("stages.ingest", "stages.prepare_dataset"):
        subprocess.run([sys.executable, "-m", stage], cwd=folder, env=environment, check=True)


def compare(
    folder: Path, ours: Sequence[Transform], theirs: Sequence[Any], *, batch_size: int, rounds: int
) -> None:
    """Read all training images both ways, and print images per second."""
    manifest = read_manifest(folder / "data/prepared")
    last = (make_schema("ToTensor"), make_schema("Normalize", mean=MEAN, std=STD))
    dataset = PreparedImages(
        folder / "data/prepared", manifest, "train", transform=build_transforms((*ours, *last))
    )
    order = PartSampler(EpochSampler(dataset.labels, shuffle=True, seed=0), batch_size=batch_size)
    changes = plain.Compose([*theirs, plain.ToTensor(), plain.Normalize(MEAN, STD)])
    files = ImageFolder(folder / "images", transform=changes)
    loaders: dict[str, Any] = {}
    for workers in (0, 1, 2):
        loaders[f"darkroom, {workers} workers"] = build_loader(
            dataset, batches=order, num_workers=workers, prefetch_factor=2
        )
    for workers in (0, 1, 2, 4):
        loaders[f"ImageFolder, {workers} workers"] = DataLoader(
            files,
            batch_size=batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
    seconds = measure_alternately(
        {name: partial(exhaust, loader) for name, loader in loaders.items()}, rounds=rounds
    )
    speeds = {
        name: [(len(dataset) if name.startswith("darkroom") else len(files)) / value for value in values]
        for name, values in seconds.items()
    }
    print(f"\nimages/s, {len(files):,} images, {os.cpu_count()} cores, {rounds} rounds:")
    for name, values in speeds.items():
        print(f"{name:24}{describe(values)}")
    own, best = (
        max((values for name, values in speeds.items() if name.startswith(kind)), key=statistics.median)
        for kind in ("darkroom", "ImageFolder")
    )
    ratios = [mine / other for mine, other in zip(own, best, strict=True)]
    print(f"{'darkroom to the best':24}{describe(ratios, digits=1)}")


def exhaust(loader: Iterable[object]) -> None:
    """Take every batch."""
    for _ in loader:
        pass


def describe(values: list[float], *, digits: int = 0) -> str:
    """Return `median (min .. max)`."""
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle:>10} ({low} .. {high})"


if __name__ == "__main__":
    main()
