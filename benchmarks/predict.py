"""Predictions for a folder of JPEG photographs: our command against a plain and a tuned script.

    python -m benchmarks.predict [--images 100 2000] [--rounds 5]

All three are commands of their own, start-up included, with the same checkpoint. The plain script is what one
writes first: PIL and torchvision's transforms, one image at a time. The tuned one decodes with OpenCV in
threads, at reduced size where ours does, and predicts in batches; a damaged file would end it. Wanted: at
least 2 times the plain script's speed, and at most 1.25 times the tuned one's seconds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.generated_project import write_project
from benchmarks.photographs import write_photographs
from benchmarks.timing import measure_alternately, print_table
from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn

ROOT = Path(__file__).parents[1]
FORM = ImageForm(color="rgb", height_px=128, width_px=128, resize="squish")
COMMANDS = {
    "tuned script": ["benchmarks.predict_scripts", "tuned"],
    "plain script": ["benchmarks.predict_scripts", "plain"],
    "darkroom": ["tools.predict"],
}


def main() -> None:
    """Generate photographs and a checkpoint, and let the commands take turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[100, 2000], help="how many photographs")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cnn = Cnn(channels=(16, 32, 64), kernel_size=3, dropout=0.0)
        write_project(folder, FORM, num_images=10, num_classes=10, threads=2, cnn=cnn)
        for num_images in arguments.images:
            photos = f"photos-{num_images}"
            num_bytes = write_photographs(folder / photos, num_images)
            print(f"{num_images:,} JPEG photographs, {num_bytes / num_images / 1024:.0f} KiB each:")
            contestants = {
                label: partial(run, [*command, photos], folder) for label, command in COMMANDS.items()
            }
            seconds = measure_alternately(contestants, rounds=arguments.rounds)
            print_table(seconds, base="tuned script")
            compare_predictions(folder)


def run(command: list[str], folder: Path) -> None:
    """Run a module over the photographs; its predictions go to a file of the word before them."""
    subprocess.run(
        [sys.executable, "-m", *command, "--output", f"{command[-2]}.csv"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stderr=subprocess.DEVNULL,
    )


def compare_predictions(folder: Path) -> None:
    """Print how many predictions of the scripts are ours: they ought to compute the same."""
    ours = read_labels(folder / "tools.predict.csv")
    for name in ("tuned", "plain"):
        theirs = read_labels(folder / f"{name}.csv")
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        print(f"predictions of the {name} script equal to ours: {same:,} of {len(ours):,}")


def read_labels(path: Path) -> list[str]:
    """Return the most probable class of each file."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    column = rows[0].index("predicted" if "predicted" in rows[0] else "label")
    return [row[column] for row in rows[1:]]


if __name__ == "__main__":
    main()
