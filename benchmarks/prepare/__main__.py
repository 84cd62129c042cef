"""How fast and how lean ingest and prepare-dataset are, beside what one would write oneself.

`python -m benchmarks.prepare` compares, in turns:

- from the CIFAR-10 archive to packed pixels: one pass of torchvision's ImageFolder under a DataLoader over
  the same files unpacked, and bare cv2.imdecode on the same bytes in as many processes;
- photographs of 500 x 375, generated, to 224 and to 64 pixels: Pillow's and torchvision's ways;
- a run after one image in a hundred changed, beside a run from nothing;
- 10,000 and 100,000 small images in an archive: seconds an image, and peak memory of the stage, of each
  worker, and of all processes together (PSS: what they share counts once).
"""

import argparse
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import ConcatDataset
from torchvision import io as torch_io
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

from benchmarks.photographs import write_many_photographs, write_photographs
from benchmarks.prepare.contestants import (
    ROOT,
    WORKERS,
    BareDecoding,
    exhaust,
    make_project,
    pack,
    run_stage,
)
from benchmarks.prepare.scale import watch_memory, write_small_images
from benchmarks.timing import measure_alternately, print_table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts: dict[str, Callable[[Path, argparse.Namespace], None]] = {
        "cifar": compare_cifar,
        "photos": compare_photographs,
        "incremental": compare_incremental,
        "scale": measure_scale,
    }
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument("--archive", type=Path, default=ROOT.parent / "shared/data/cifar10.zip")
    parser.add_argument("--num-photos", type=int, default=2000, help="default: %(default)s")
    parser.add_argument(
        "--images",
        type=int,
        default=20_000,
        help="photographs of which one in a hundred changes (default: %(default)s: of fewer, starting Python "
        "takes longer than decoding)",
    )
    parser.add_argument("--num-small", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    for part in arguments.parts or parts:
        with tempfile.TemporaryDirectory() as name:
            parts[part](Path(name), arguments)


def compare_cifar(folder: Path, arguments: argparse.Namespace) -> None:
    """Compare ways from an archive of small JPEG files to pixels."""
    archive: Path = arguments.archive
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder / "unpacked")
    (top,) = (folder / "unpacked").iterdir()
    files = [path.read_bytes() for path in sorted(top.rglob("*.jpg"))]
    project = make_project(folder, source=archive.resolve(), side_px=32)
    pixels = ImageFolder(str(top / "train"), transform=v2.PILToTensor())
    rest = ImageFolder(str(top / "test"), transform=v2.PILToTensor())
    both: Any = ConcatDataset([pixels, rest])
    print(f"{len(files):,} files of {archive.name}, {WORKERS} processes each")
    bare = BareDecoding(files)
    contestants: dict[str, Callable[[], object]] = {
        "archive to packed pixels": partial(pack, archive, folder / "store", "rgb", 32),
        "the whole stage, Python's start included": partial(run_stage, project),
        "bare cv2.imdecode": bare.run,
        "ImageFolder + DataLoader": partial(exhaust, both),
    }
    print_table(measure_alternately(contestants, rounds=arguments.rounds), base="archive to packed pixels")
    bare.close()


def compare_photographs(folder: Path, arguments: argparse.Namespace) -> None:
    """Compare ways from photographs to two sizes, and print by how much decoding at reduced size differs."""
    source = folder / "photographs"
    num_bytes = write_photographs(source, arguments.num_photos)
    print(
        f"{arguments.num_photos:,} photographs of 500 x 375, {num_bytes // arguments.num_photos:,} bytes each"
    )
    for side_px in (224, 64):
        resize = v2.Resize((side_px, side_px), interpolation=InterpolationMode.BILINEAR)
        pillow = ImageFolder(str(source), transform=v2.Compose([resize, v2.PILToTensor()]))
        decode_jpeg: Any = partial(torch_io.decode_image, mode=torch_io.ImageReadMode.RGB)
        tensors = ImageFolder(str(source), transform=resize, loader=decode_jpeg)
        ours = f"darkroom to {side_px} px"
        contestants: dict[str, Callable[[], object]] = {
            ours: partial(pack, source, folder / "store", "rgb", side_px),
            "Pillow, Resize, DataLoader": partial(exhaust, pillow),
            "torchvision.io, Resize, DataLoader": partial(exhaust, tensors),
        }
        print_table(measure_alternately(contestants, rounds=arguments.rounds), base=ours)


def compare_incremental(folder: Path, arguments: argparse.Namespace) -> None:
    """Compare a run after 1 % of the photographs changed with one from nothing."""
    source = folder / "photographs"
    num_bytes = write_many_photographs(source, arguments.images)
    files = sorted(source.rglob("*.jpg"))
    print(f"{len(files):,} photographs of 500 x 375, {num_bytes // len(files):,} bytes each")
    changes = iter(range(10**6))

    def change() -> None:
        for path in files[next(changes) % 100 :: 100]:
            path.write_bytes(path.read_bytes() + b"\0")

    def run_again() -> None:
        change()
        run_stage(project, fresh=False)

    for side_px in (64, 224):
        project = make_project(folder / str(side_px), source=source, side_px=side_px)
        full = f"from nothing, {side_px} px"
        contestants: dict[str, Callable[[], object]] = {
            full: partial(run_stage, project),
            "1 % changed": run_again,
        }
        print_table(measure_alternately(contestants, rounds=arguments.rounds), base=full)


def measure_scale(folder: Path, arguments: argparse.Namespace) -> None:
    """Print time and memory by the number of images."""
    print(
        f"{'images':>9}  {'seconds':>8}  {'us an image':>11}  {'stage':>8}  {'a worker':>8}  {'together':>8}"
    )
    for number in arguments.num_small:
        archive = folder / f"{number}.zip"
        write_small_images(archive, number)
        project = make_project(folder / str(number), source=archive, side_px=28)
        start = time.perf_counter()
        stage, worker, together = watch_memory(project)
        seconds = time.perf_counter() - start
        print(
            f"{number:9,}  {seconds:8.2f}  {seconds / number * 1e6:11.1f}  "
            f"{stage / 2**20:5.0f} MB  {worker / 2**20:5.0f} MB  {together / 2**20:5.0f} MB"
        )
        archive.unlink()


if __name__ == "__main__":
    main()
