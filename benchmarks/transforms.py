"""Every transform of pictures, against torchvision v2 and albumentations, on one thread.

    make bench-env && .venv.bench/bin/python -m benchmarks.transforms

Each makes a batch out of single photographs in memory: ours as the data set does it, the others image by
image and stacked, as a DataLoader collates them; `--without-stacking` leaves theirs single, which is not what
they are used for. The contestants take turns, and of every round the ratios are taken. Times are those of the
processor, so that other programs disturb little.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import v2

from benchmarks.photographs import make_photograph
from benchmarks.timing import measure_alternately
from schemas.vision.transforms import TRANSFORMS, Transform
from stages.shared.process import keep_freed_memory
from stages.vision.transforms import Compose, build_transforms

Call = Callable[[], object]
Images = npt.NDArray[np.uint8]

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
AFFINE = {"degrees": 10.0, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 10.0}
WANTED_NUM_WON, WANTED_RATIO = 8, 0.7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transforms", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[32, 96, 256], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--without-stacking", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()  # as the stage does when it starts
    warnings.simplefilter("ignore")  # of albumentations: arguments that it takes for another version's
    for side_px in arguments.sizes:
        num_images = 64 * 64 // side_px + 16
        images = np.stack(
            [make_photograph(i, height_px=side_px, width_px=side_px) for i in range(num_images)]
        )
        measure(images, rounds=arguments.rounds, stacked=not arguments.without_stacking)


def measure(images: Images, *, rounds: int, stacked: bool) -> None:
    """Print images per second of every transform, and the ratio to the faster of the others."""
    side_px = images.shape[1]
    print(f"\n{f'images/s, {side_px} px, one thread':32}{'darkroom':>10}{'torchvision':>13}", end="")
    print(f"{'albumentations':>16}   darkroom to the faster (min .. max)")
    all_ratios = []
    theirs = build_albumentations(side_px)
    for name, schemas in build_schemas(side_px).items():
        calls = {"darkroom": call_ours(build_transforms(schemas), images)}
        calls["torchvision"] = call_torchvision(build_torchvision(schemas, side_px), images, stacked=stacked)
        if name in theirs:
            calls["albumentations"] = call_albumentations(theirs[name], images, stacked=stacked)
        seconds = measure_alternately(calls, rounds=rounds, clock=time.thread_time)
        ours = seconds.pop("darkroom")
        faster = min(seconds.values(), key=statistics.median)
        ratios = [other / own for other, own in zip(faster, ours, strict=True)]
        all_ratios.append(statistics.median(ratios))
        speeds = {key: len(images) / statistics.median(values) for key, values in seconds.items()}
        line = f"{name:32}{len(images) / statistics.median(ours):10,.0f}{speeds['torchvision']:13,.0f}"
        line += f"{speeds['albumentations']:16,.0f}" if name in theirs else f"{'-':>16}"
        print(f"{line}   {all_ratios[-1]:6.2f} ({min(ratios):.2f} .. {max(ratios):.2f})", flush=True)
    num_won, lowest = sum(ratio >= 1 for ratio in all_ratios), min(all_ratios)
    print(f"at least as fast as the faster in {num_won} of {len(all_ratios)}, lowest ratio {lowest:.2f}")
    if side_px == 256:
        print(f"(wanted: in {WANTED_NUM_WON} of 11, and at least {WANTED_RATIO} in the rest)")


def build_schemas(side_px: int) -> dict[str, tuple[Transform, ...]]:
    """Return what is measured, with the arguments of params.yaml."""
    smaller = {"height_px": side_px * 7 // 8, "width_px": side_px * 7 // 8}
    arguments: dict[str, dict[str, Any]] = {
        "RandomResizedCrop": smaller,
        "RandomHorizontalFlip": {},
        "RandomVerticalFlip": {},
        "RandomRotation": {"degrees": 30.0},
        "RandomAffine": AFFINE,
        "ColorJitter": JITTER,
        "GaussianBlur": {"kernel_size": 3},
        "RandomGrayscale": {},
        "TrivialAugmentWide": {},
        "Resize": smaller,
    }
    built = {name: (make_schema(name, **given),) for name, given in arguments.items()}
    return {
        **built,
        "ToTensor, Normalize": (make_schema("ToTensor"), make_schema("Normalize", mean=MEAN, std=STD)),
    }


def make_schema(name: str, **arguments: Any) -> Transform:
    """Return the schema of a transform with these arguments."""
    [schema] = [schema for schema in TRANSFORMS if schema.__name__ == name]
    return schema.model_validate({"name": name, **arguments})


def build_torchvision(schemas: tuple[Transform, ...], side_px: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return torchvision's transforms for the arguments of ours."""
    theirs: list[Any] = []
    for schema in schemas:
        arguments = {key: value for key, value in schema if key not in ("name", "in_training")}
        if "height_px" in arguments:
            arguments["size"] = [arguments.pop("height_px"), arguments.pop("width_px")]
        if schema.name == "ToTensor":
            theirs.append(v2.ToDtype(torch.float32, scale=True))
        else:
            theirs.append(getattr(v2, schema.name)(**arguments))
    composed: Callable[[torch.Tensor], torch.Tensor] = theirs[0] if len(theirs) == 1 else v2.Compose(theirs)
    return composed


def build_albumentations(side_px: int) -> dict[str, Any]:
    """Return albumentations' transforms of the same meaning, by our names; it has no TrivialAugmentWide."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version
    try:
        their = import_module("albumentations")
        to_tensor = import_module("albumentations.pytorch").ToTensorV2()
    except ModuleNotFoundError:
        print("\nwithout albumentations: make bench-env, then use .venv.bench/bin/python")
        return {}
    smaller = side_px * 7 // 8
    nearest = {"interpolation": cv2.INTER_NEAREST, "border_mode": cv2.BORDER_CONSTANT, "p": 1.0}
    shift = AFFINE["translate"][0]  # type: ignore[index]
    return {
        "RandomResizedCrop": their.RandomResizedCrop((smaller, smaller), p=1.0),
        "RandomHorizontalFlip": their.HorizontalFlip(p=0.5),
        "RandomVerticalFlip": their.VerticalFlip(p=0.5),
        "RandomRotation": their.Rotate(limit=(-30, 30), **nearest),
        "RandomAffine": their.Affine(
            rotate=(-10, 10), translate_percent=(-shift, shift), scale=(0.8, 1.2), shear=(-10, 10), **nearest
        ),
        "ColorJitter": their.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1.0),
        "GaussianBlur": their.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.1, 2.0), p=1.0),
        "RandomGrayscale": their.ToGray(p=0.1),
        "Resize": their.Resize(smaller, smaller, p=1.0),
        "ToTensor, Normalize": their.Compose([their.Normalize(mean=MEAN, std=STD), to_tensor]),
    }


def call_ours(transform: Compose, images: Images) -> Call:
    """Return a call that makes a batch, in another epoch each time."""
    samples = np.arange(len(images))
    epochs = iter(range(10**9))

    def call() -> object:
        epoch = next(epochs)
        pictures = transform.change_pictures(
            lambda block: images[block], num_images=len(images), samples=samples, epoch=epoch
        )
        return transform.change_numbers(pictures, samples=samples, epoch=epoch)

    return call


def call_torchvision(
    transform: Callable[[torch.Tensor], torch.Tensor], images: Images, *, stacked: bool
) -> Call:
    """Return a call that changes one tensor (C, H, W) after the other."""
    singles = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]

    def call() -> object:
        changed = [transform(image) for image in singles]
        return torch.stack(changed) if stacked else changed

    return call


def call_albumentations(transform: Any, images: Images, *, stacked: bool) -> Call:
    """Return a call that changes one array (H, W, C) after the other."""
    singles: Mapping[int, Images] = dict(enumerate(images))

    def call() -> object:
        changed = [transform(image=image)["image"] for image in singles.values()]
        if not stacked:
            return changed
        return torch.stack(changed) if isinstance(changed[0], torch.Tensor) else np.stack(changed)

    return call


if __name__ == "__main__":
    main()
