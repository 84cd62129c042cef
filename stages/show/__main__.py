"""Show images of a split before and after the training transforms of params.yaml.

Opens a window; writes a PNG where there is no display, or where --output is given.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from schemas.shared.manifest import SPLIT_NAMES
from schemas.vision.transforms import Normalize, Transforms
from stages.params.read import read_params
from stages.shared.errors import run_stage
from stages.shared.files import publish_file
from stages.shared.paths import PREPARED
from stages.show.grid import Cell, Pixels, draw_grid
from stages.vision.dataset import PreparedImages, read_manifest
from stages.vision.draws import derive_seed
from stages.vision.transforms import build_mixing, build_transforms, fill_in_statistics, for_training


def main() -> None:
    """Show what the arguments ask for."""
    arguments = parse_arguments()
    params = read_params()
    manifest = read_manifest(PREPARED)
    transforms = fill_in_statistics(params.transforms, mean=manifest.mean, std=manifest.std)
    images = PreparedImages(
        PREPARED,
        manifest,
        arguments.split,
        transform=build_transforms(for_training(transforms), seed=params.training.seed),
    )
    images.set_epoch(arguments.epoch - 1)
    order = torch.Generator().manual_seed(derive_seed(arguments.seed))
    chosen = torch.randperm(len(images), generator=order)[: arguments.num].tolist()
    transformed, labels = images.gather(chosen)
    names = [manifest.classes[label] for label in labels.tolist()]
    mixing = build_mixing(transforms, num_classes=len(manifest.classes), seed=params.training.seed)
    if mixing is not None:  # as the first step of the epoch would mix them, were they its batch
        transformed, targets = mixing(transformed, labels, epoch=arguments.epoch - 1, step=0)
        names = [name_shares(shares, manifest.classes) for shares in targets.tolist()]
    cells = [
        Cell(name, images.pixels(image), unnormalize(after, transforms))
        for image, name, after in zip(chosen, names, transformed, strict=True)
    ]
    picture = draw_grid(cells, num_columns=arguments.columns)
    title = f"{arguments.split}: as prepared, and after the transforms of epoch {arguments.epoch}"
    if arguments.output or not has_display():
        write_picture(arguments.output or Path("data/show.png"), picture, title=title)
    else:
        show_window(picture, title=title)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m stages.show", description=__doc__)
    parser.add_argument("--split", choices=SPLIT_NAMES, default="train", help="default: %(default)s")
    parser.add_argument("--num", type=_positive, default=24, help="images to show; default: %(default)s")
    parser.add_argument("--columns", type=_positive, default=6, help="images in a row; default: %(default)s")
    parser.add_argument(
        "--epoch",
        type=_positive,
        default=1,
        help="epoch whose random changes are shown; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other images")
    parser.add_argument("--output", type=_png, help="write a PNG there instead of opening a window")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 1")
    return int(text)


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a file name that ends in .png")
    return Path(text)


def name_shares(shares: Sequence[float], classes: Sequence[str]) -> str:
    """Return the classes that a mixed image has a share of, the largest first: `cat 70%, dog 30%`."""
    ranked = sorted(
        ((share, name) for share, name in zip(shares, classes, strict=True) if share), reverse=True
    )
    return ranked[0][1] if len(ranked) == 1 else ", ".join(f"{name} {share:.0%}" for share, name in ranked)


def unnormalize(image: Tensor, transforms: Transforms) -> Pixels:
    """Undo Normalize and ToTensor, so that a person sees what is left of the picture.

    Args:
        image: float (C, H, W), as the network takes it.
        transforms: A list whose Normalize holds numbers.

    Returns:
        uint8 (H, W, C).
    """
    for transform in transforms:
        if isinstance(transform, Normalize):
            assert transform.mean != "dataset", "statistics are filled in"
            assert transform.std != "dataset", "statistics are filled in"
            image = (
                image * torch.tensor(transform.std)[:, None, None]
                + torch.tensor(transform.mean)[:, None, None]
            )
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)


def has_display() -> bool:
    """Return whether a window can be opened."""
    if platform.system() != "Linux":
        return True
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    # Where the display is named but gone, Qt ends the process: another process tries first.
    probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe', cv2.WINDOW_NORMAL)"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def write_picture(path: Path, picture: Pixels, *, title: str) -> None:
    """Write a PNG whole and say where it is."""
    written, data = cv2.imencode(".png", picture)
    assert written, "PNG holds every picture"
    with publish_file(path) as partial:
        partial.write_bytes(data.tobytes())
    print(f"{path}: {title}")


def show_window(picture: Pixels, *, title: str) -> None:
    """Show a window until a key is pressed or it is closed."""
    # OpenCV's Qt warns of fonts that it does not need; the picture holds all the text there is.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    cv2.imshow(title, picture)
    while cv2.waitKey(100) < 0 and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1:
        pass
    cv2.destroyAllWindows()


if __name__ == "__main__":
    run_stage(main)
