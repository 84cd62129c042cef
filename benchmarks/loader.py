"""How fast training images are read and changed, against torchvision's ImageFolder under a DataLoader.

`python -m benchmarks.loader` reads CIFAR-10, `cifar10/train/<class>/*.jpg` in an archive, both ways with
random crop, flip and normalization, and then tries every transform of ours on a batch against torchvision's
own, image by image. The files are unpacked into a temporary folder, and prepared by the stage.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms as plain
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.timing import measure_alternately
from schemas.__main__ import format_yaml
from schemas.vision.transforms import TRANSFORMS, Transform
from schemas.vision.transforms.torchvision_by_name import TorchvisionTransform
from stages.params.document import read_document
from stages.train.sampler import EpochSampler
from stages.vision.dataset import PreparedImages, build_loader, read_manifest
from stages.vision.transforms import build_mixing, build_transforms

ROOT = Path(__file__).parents[1]
BATCH_SIZE = 256
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "RandomCrop": {"padding": 4},
    "Resize": {"height_px": 40, "width_px": 40},
    "CenterCrop": {"height_px": 28, "width_px": 28},
    "RandomRotation": {"degrees": 30.0},
    "RandomAffine": {"degrees": 10.0, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 10.0},
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "GaussianBlur": {"kernel_size": 3},
    "Normalize": {"mean": MEAN, "std": STD},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--archive", type=Path, default=ROOT.parent / "shared/data/cifar10.zip")
    parser.add_argument("--num-images", type=int, default=50_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(arguments.archive, folder / "images", num_images=arguments.num_images)
        prepare(folder)
        images = compare_loaders(folder, rounds=arguments.rounds)
        compare_transforms(images, rounds=arguments.rounds)


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


def prepare(folder: Path) -> None:
    """Run prepare-dataset on folder/images; its output is folder/data/prepared."""
    params = read_document(ROOT / "params.yaml").data
    params["dataset"] |= {"source": "images", "color": "rgb", "height_px": 32, "width_px": 32}
    (folder / "params.yaml").write_text(format_yaml(params))
    (folder / "data").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.prepare_dataset"]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def compare_loaders(folder: Path, *, rounds: int) -> Tensor:
    """Read all images both ways, and print images per second; return a batch of bytes for what follows."""
    manifest = read_manifest(folder / "data/prepared")
    chosen = [make_schema("RandomCrop"), make_schema("RandomHorizontalFlip")]
    chosen += [make_schema("ToTensor"), make_schema("Normalize")]
    dataset = PreparedImages(
        folder / "data/prepared", manifest, "train", transform=build_transforms(tuple(chosen))
    )
    order = EpochSampler(dataset.labels, shuffle=True, seed=0)
    theirs = ImageFolder(
        folder / "images",
        transform=plain.Compose(
            [
                plain.RandomCrop(32, padding=4),
                plain.RandomHorizontalFlip(),
                plain.ToTensor(),
                plain.Normalize(MEAN, STD),
            ]
        ),
    )
    loaders: dict[str, Any] = {"darkroom": build_loader(dataset, batch_size=BATCH_SIZE, sampler=order)}
    for workers in (0, 1, 2):
        loaders[f"ImageFolder, {workers} workers"] = DataLoader(
            theirs,
            batch_size=BATCH_SIZE,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
    seconds = measure_alternately(
        {name: partial(exhaust, loader) for name, loader in loaders.items()}, rounds=rounds
    )
    speeds = {
        name: [(len(dataset) if name == "darkroom" else len(theirs)) / value for value in values]
        for name, values in seconds.items()
    }
    print(f"\nimages/s, {len(theirs):,} images, {os.cpu_count()} cores, {rounds} rounds:")
    for name, values in speeds.items():
        print(f"{name:24}{describe(values)}")
    best = max((values for name, values in speeds.items() if name != "darkroom"), key=statistics.median)
    ratios = [ours / other for ours, other in zip(speeds["darkroom"], best, strict=True)]
    print(f"{'darkroom to the best':24}{describe(ratios, digits=1)}")
    plainly = PreparedImages(folder / "data/prepared", manifest, "train")
    return plainly.gather(range(BATCH_SIZE))[0]


def exhaust(loader: Iterable[object]) -> None:
    """Take every batch."""
    for _ in loader:
        pass


def compare_transforms(images: Tensor, *, rounds: int) -> None:
    """Print images per second of each transform, ours on a batch and torchvision's image by image."""
    samples = np.arange(len(images))
    print(f"\n{'images/s, a batch against single images':40}{'darkroom':>12}{'torchvision':>14}{'ratio':>8}")
    for schema in TRANSFORMS:
        if issubclass(schema, TorchvisionTransform):
            continue
        transform = make_schema(schema.__name__)
        is_float = schema.__name__ in ("Normalize", "MixUp", "CutMix", "RandomErasing")
        batch = images / 255 if is_float else images
        calls = {
            "ours": call_ours(transform, batch, samples),
            "theirs": call_theirs(transform, batch),
        }
        seconds = measure_alternately(calls, rounds=max(3, rounds))
        ours, theirs = (len(images) / statistics.median(seconds[name]) for name in ("ours", "theirs"))
        print(f"{schema.__name__:40}{ours:12,.0f}{theirs:14,.0f}{ours / theirs:8.1f}", flush=True)


def call_ours(transform: Transform, batch: Tensor, samples: np.ndarray) -> Callable[[], object]:
    """Return a call that changes the whole batch."""
    if transform.position == "last":
        mixing = build_mixing((transform,), num_classes=10, seed=0)
        assert mixing is not None
        labels = torch.arange(len(batch)) % 10
        return lambda: mixing(batch, labels, epoch=0, step=0)
    ours = build_transforms((transform,))
    return lambda: ours(batch, samples=samples)


def call_theirs(transform: Transform, batch: Tensor) -> Callable[[], object]:
    """Return a call that changes one image after the other, or mixes a batch, as torchvision does too."""
    if transform.position == "last":
        mixer = getattr(v2, transform.name)(num_classes=10)
        labels = torch.arange(len(batch)) % 10
        return lambda: mixer(batch, labels)
    theirs = build_theirs(transform)
    singles = [image.contiguous() for image in batch]
    return lambda: [theirs(image) for image in singles]


def build_theirs(transform: Transform) -> Callable[[Tensor], Tensor]:
    """Return torchvision's transform for the arguments of ours."""
    arguments = {key: value for key, value in transform if key not in ("name", "in_training")}
    if "height_px" in arguments:
        sides = [arguments.pop(key) for key in ("height_px", "width_px")]
        arguments["size"] = [32 if side == "image" else side for side in sides]
    if transform.name == "ToTensor":
        to_float: Callable[[Tensor], Tensor] = v2.ToDtype(torch.float32, scale=True)
        return to_float
    theirs: Callable[[Tensor], Tensor] = getattr(v2, transform.name)(**arguments)
    return theirs


def make_schema(name: str) -> Transform:
    """Return the schema of a transform with the arguments that are measured."""
    [schema] = [schema for schema in TRANSFORMS if schema.__name__ == name]
    return schema.model_validate({"name": name, **ARGUMENTS.get(name, {})})


def describe(values: list[float], *, digits: int = 0) -> str:
    """Return `median (min .. max)`."""
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle:>10} ({low} .. {high})"


if __name__ == "__main__":
    main()
