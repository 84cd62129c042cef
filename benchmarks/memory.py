"""What train holds in memory, by epochs and by images.

    python -m benchmarks.memory
    python -m benchmarks.memory --num-images 600 6000 --epochs 2 4

Trains a small network on generated images of 32 px with `python -m stages.train`, in a process for each
number of images and of epochs. Counted is anonymous memory (RssAnon), what a process has for itself: prepared
images are mapped files, whose pages the system keeps as it pleases and takes back when it needs room.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.vision.completeness import read_params_file
from tests.vision.prepared import write_prepared

ROOT = Path(__file__).parents[1]
SIDE_PX, NUM_CLASSES, VAL_SHARE = 32, 10, 10
MB = 2**20


class Use(NamedTuple):
    """Anonymous memory of a run in bytes."""

    first_epoch: int
    last_epoch: int
    peak: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--num-images", type=int, nargs="+", default=[5_000, 50_000], help="default: %(default)s"
    )
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 20], help="default: %(default)s")
    arguments = parser.parse_args()
    print(f"{'images':>9} {'epochs':>7} {'after the first':>16} {'after the last':>15} {'peak':>9}")
    uses: dict[tuple[int, int], Use] = {}
    for num_images in arguments.num_images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_project(folder, num_images=num_images)
            for num_epochs in arguments.epochs:
                use = uses[num_images, num_epochs] = train(folder, num_epochs=num_epochs)
                print(
                    f"{num_images:9,} {num_epochs:7} {use.first_epoch / MB:13.1f} MB "
                    f"{use.last_epoch / MB:12.1f} MB {use.peak / MB:6.1f} MB",
                    flush=True,
                )
    few, many = min(uses), max(uses)
    by_epochs = uses[many].last_epoch - uses[many].first_epoch
    print(f"{by_epochs / MB:+.1f} MB from the first epoch of {many[0]:,} images to the last of {many[1]}")
    if many[0] > few[0]:
        by_images = (uses[many].peak - uses[few[0], many[1]].peak) / (many[0] - few[0])
        print(f"{by_images:+.0f} bytes of the peak for every image more, of {3 * SIDE_PX**2:,} bytes each")


def write_project(folder: Path, *, num_images: int) -> None:
    """Write prepared images, of which so many train, and what else the stage wants to find."""
    (folder / ".dvc").mkdir()
    write_prepared(
        folder / "data/prepared",
        classes=[f"class {number}" for number in range(NUM_CLASSES)],
        num_train=num_images // NUM_CLASSES,
        num_val=max(1, num_images // NUM_CLASSES // VAL_SHARE),
        num_test=1,
        height_px=SIDE_PX,
        width_px=SIDE_PX,
        channels=3,
        rows_per_shard=20_000,
    )


def train(folder: Path, *, num_epochs: int) -> Use:
    """Run the stage; return what it held when it said that its first and its last epoch was over."""
    params = read_params_file()
    params["dataset"].update(color="rgb", height_px=SIDE_PX, width_px=SIDE_PX)
    params["network"]["cnn"]["channels"] = [4, 8]
    params["loader"]["batch_size"] = 250
    params["training"]["num_epochs"] = num_epochs
    (folder / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    samples = [0]
    watch = threading.Thread(target=_watch, args=(process, samples))
    watch.start()
    assert process.stdout is not None
    after = [_read_use(process.pid) for line in process.stdout if re.match(r"epoch +\d+/", line)]
    watch.join()
    assert len(after) == num_epochs, "the run went to its end"
    return Use(after[0], after[-1], max(*samples, *after))


def _watch(process: "subprocess.Popen[str]", samples: list[int]) -> None:
    while process.poll() is None:
        samples.append(_read_use(process.pid))
        time.sleep(0.02)


def _read_use(process: int) -> int:
    """Return RssAnon in bytes; 0 of a process that is over."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main()
