"""Show images of a split before and after the training transforms of params.yaml.

Opens a window; writes a PNG where there is no display, or where --output is given.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from schemas.params import Params
from schemas.shared.manifest import SPLIT_NAMES, SplitName
from schemas.vision.transforms import Normalize, Transforms
from stages.params.read import read_params
from stages.shared.errors import run_stage
from stages.shared.files import publish_file
from stages.shared.paths import PREPARED

if TYPE_CHECKING:
    from torch import Tensor

Pixels = npt.NDArray[np.uint8]

_MARGIN_PX = 12
_GAP_PX = 4
_TEXT_PX = 16
_MIN_SIDE_PX = 96
_BACKGROUND = 255
_INK = (40, 40, 40)


@dataclass(frozen=True)
class Cell:
    """One image of the grid; both pictures are uint8 (height, width, channels), RGB or grayscale."""

    label: str
    before: Pixels
    after: Pixels


def main() -> None:
    """Show what the arguments ask for."""
    arguments = parse_arguments()
    params = read_params()
    cells = load_cells(
        params,
        split=arguments.split,
        num_images=arguments.num,
        epoch=arguments.epoch,
        seed=arguments.seed,
    )
    picture = draw_grid(cells, num_columns=arguments.columns)
    title = f"{arguments.split}: as prepared, and after the transforms of epoch {arguments.epoch}"
    if arguments.output or not has_display():
        write_picture(arguments.output or Path("data/show.png"), picture, title=title)
    else:
        _show_window(picture, title=title)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m tools.show", description=__doc__)
    parser.add_argument("--split", choices=SPLIT_NAMES, default="train", help="default: %(default)s")
    parser.add_argument("--num", type=_positive, default=24, help="images to show; default: %(default)s")
    parser.add_argument("--columns", type=_positive, default=6, help="images in a row; default: %(default)s")
    parser.add_argument(
        "--epoch",
        type=_positive,
        default=1,
        help="epoch whose random transforms are shown; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other images")
    parser.add_argument("--output", type=_png, help="write a PNG there instead of opening a window")
    return parser.parse_args()


def load_cells(params: Params, *, split: SplitName, num_images: int, epoch: int, seed: int) -> list[Cell]:
    """Return images of a split before and after the training transforms.

    Args:
        params: All parameters.
        split: Where the images are from.
        num_images: How many, if the split has as many.
        epoch: Whose random transforms are shown, counted from 1.
        seed: Chooses the images.

    Raises:
        InputError: The prepared data is missing or damaged.
    """
    # A wrong command line or params.yaml is refused before torch is imported, which takes seconds.
    import torch

    from stages.vision.dataset import PreparedImages, read_manifest
    from stages.vision.networks import find_statistics
    from stages.vision.rng import derive_seed
    from stages.vision.transforms import (
        Statistics,
        build_mixing,
        build_transforms,
        fill_in_statistics,
        for_training,
    )

    manifest = read_manifest(PREPARED)
    transforms = fill_in_statistics(
        params.transforms,
        dataset=Statistics(manifest.mean, manifest.std),
        weights=lambda: find_statistics(params.network.chosen(), image=manifest.image),
    )
    transform = build_transforms(for_training(transforms), seed=params.training.seed)
    images = PreparedImages(PREPARED, manifest, split, transform=transform)
    images.set_epoch(epoch - 1)
    generator = torch.Generator().manual_seed(derive_seed(seed))
    chosen = torch.randperm(len(images), generator=generator)[:num_images].tolist()
    transformed, labels = images.gather(chosen)
    names = [manifest.classes[label] for label in labels.tolist()]
    mixing = build_mixing(transforms, num_classes=len(manifest.classes), seed=params.training.seed)
    if mixing is not None:  # as the epoch's first step would mix them, if they were its batch
        transformed, targets = mixing(transformed, labels, epoch=epoch - 1, step=0)
        names = [name_shares(shares, manifest.classes) for shares in targets.tolist()]
    return [
        Cell(name, images.pixels(image), unnormalize(after, transforms))
        for image, name, after in zip(chosen, names, transformed, strict=True)
    ]


def name_shares(shares: Sequence[float], classes: Sequence[str]) -> str:
    """Return the classes that a mixed image has a share of, the largest first: `cat 70%, dog 30%`."""
    ranked = sorted(
        ((share, name) for share, name in zip(shares, classes, strict=True) if share), reverse=True
    )
    return ranked[0][1] if len(ranked) == 1 else ", ".join(f"{name} {share:.0%}" for share, name in ranked)


def unnormalize(image: "Tensor", transforms: Transforms) -> Pixels:
    """Undo Normalize and ToTensor, so that one sees what is left of the picture.

    Args:
        image: float (C, H, W), as the network takes it.
        transforms: A list whose Normalize holds numbers.

    Returns:
        uint8 (H, W, C).
    """
    values = image.permute(1, 2, 0).numpy()
    for transform in transforms:
        if isinstance(transform, Normalize):
            assert not isinstance(transform.mean, str), "statistics are filled in"
            assert not isinstance(transform.std, str), "statistics are filled in"
            values = values * np.asarray(transform.std, np.float32) + np.asarray(transform.mean, np.float32)
    return np.ascontiguousarray((values * 255).round().clip(0, 255).astype(np.uint8))


def draw_grid(cells: Sequence[Cell], *, num_columns: int) -> Pixels:
    """Return all cells in one picture, uint8 (height, width, 3) in OpenCV's BGR order.

    A cell is two pictures side by side, before and after, below its label. Small pictures are enlarged by a
    whole factor, pixel by pixel, so that single pixels can be seen.
    """
    drawn = [_draw_cell(cell) for cell in cells]
    height, width = drawn[0].shape[:2]
    num_rows = -(-len(drawn) // num_columns)
    num_columns = min(num_columns, len(drawn))
    grid = np.full(
        (num_rows * (height + _MARGIN_PX) + _MARGIN_PX, num_columns * (width + _MARGIN_PX) + _MARGIN_PX, 3),
        _BACKGROUND,
        dtype=np.uint8,
    )
    for place, picture in enumerate(drawn):
        row, column = divmod(place, num_columns)
        top, left = _MARGIN_PX + row * (height + _MARGIN_PX), _MARGIN_PX + column * (width + _MARGIN_PX)
        grid[top : top + height, left : left + width] = picture
    return grid


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
    """Write a picture in BGR order as a PNG, and print where it is."""
    written, data = cv2.imencode(".png", picture)
    assert written, "PNG holds every picture"
    with publish_file(path) as partial:
        partial.write_bytes(data.tobytes())
    print(f"{path}: {title}")


def _show_window(picture: Pixels, *, title: str) -> None:
    """Show a window until a key is pressed or it is closed."""
    # OpenCV's Qt warns of fonts that it does not need: the picture holds all the text there is.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    cv2.imshow(title, picture)
    while cv2.waitKey(100) < 0 and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1:
        pass
    cv2.destroyAllWindows()


def _draw_cell(cell: Cell) -> Pixels:
    # One factor for both, so that one sees it when the transforms made the picture larger or smaller.
    factor = max(1, -(-_MIN_SIDE_PX // min(cell.before.shape[:2])))
    before, after = _enlarge(cell.before, factor=factor), _enlarge(cell.after, factor=factor)
    height, width = max(before.shape[0], after.shape[0]), before.shape[1] + _GAP_PX + after.shape[1]
    header = 2 * _TEXT_PX
    picture = np.full((header + height, width, 3), _BACKGROUND, dtype=np.uint8)
    picture[header : header + before.shape[0], : before.shape[1]] = before
    picture[header : header + after.shape[0], before.shape[1] + _GAP_PX :] = after
    # Drawn on a strip of its own, where a long label is cut off at the edge: in the picture it would wrap.
    strip = picture[:header].copy()
    cv2.putText(strip, cell.label, (0, _TEXT_PX + 4), _INK, cv2.FontFace("sans"), _TEXT_PX)
    picture[:header] = strip
    return picture


def _enlarge(pixels: Pixels, *, factor: int) -> Pixels:
    colored = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.shape[2] == 1 else cv2.COLOR_RGB2BGR)
    return np.asarray(colored, dtype=np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 1")
    return int(text)


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a file name that ends in .png")
    return Path(text)


if __name__ == "__main__":
    run_stage(main)
