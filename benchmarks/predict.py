"""Predictions for a folder of JPEG photographs: our command against a plain and a tuned script.

    python -m benchmarks.predict [--images 1 100 2000] [--rounds 5]

All are commands of their own, start-up included, with the same checkpoint; a single photograph is start-up
alone. The plain script is what one writes first: PIL and torchvision's transforms, one image at a time. The
tuned one decodes with OpenCV in threads, at reduced size where ours does, and predicts in batches; a damaged
file would end it. Ours runs the checkpoint, and the same network as ONNX. Wanted of the checkpoint: at
least 2 times the plain script's speed, and at most 1.25 times the tuned one's seconds; of the ONNX file: a
single photograph in less than a second.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.generated_project import write_project
from benchmarks.photographs import write_photographs
from benchmarks.timing import measure_alternately, print_table
from schemas.export.export import Export
from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn
from stages.export.formats import write_models

ROOT = Path(__file__).parents[1]
FORM = ImageForm(color="rgb", height_px=128, width_px=128, resize="squish")
COMMANDS = {
    "tuned script": ["benchmarks.predict_scripts", "tuned"],
    "plain script": ["benchmarks.predict_scripts", "plain"],
    "darkroom": ["tools.predict"],
    "darkroom, ONNX": ["tools.predict", "--checkpoint", "data/export/model.onnx"],
}


def main() -> None:
    """Generate photographs and a checkpoint, and let the commands take turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1, 100, 2000], help="how many photographs")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cnn = Cnn(channels=(16, 32, 64), kernel_size=3, dropout=0.0)
        write_project(folder, FORM, num_images=10, num_classes=10, threads=2, cnn=cnn)
        export_model(folder)
        for num_images in arguments.images:
            photos = f"photos-{num_images}"
            num_bytes = write_photographs(folder / photos, num_images)
            print(f"{num_images:,} JPEG photographs, {num_bytes / num_images / 1024:.0f} KiB each:")
            contestants = {
                label: partial(run, [*command, photos, "--output", f"{label}.csv"], folder)
                for label, command in COMMANDS.items()
            }
            seconds = measure_alternately(contestants, rounds=arguments.rounds)
            print_table(seconds, base="tuned script")
            for label, values in seconds.items():
                print(f"{label}: {num_images / statistics.median(values):,.1f} files a second")
            compare_predictions(folder)


def export_model(folder: Path) -> None:
    """Write the checkpoint of a project as an ONNX file."""
    section = Export(
        formats=("onnx",),
        checkpoint="best",
        min_agreement=1.0,
        max_probability_change=1e-5,
        max_accuracy_drop=0.0,
    )
    (folder / "data" / "export").mkdir()
    with contextlib.chdir(folder):
        write_models(Path("data/export"), section)


def run(command: list[str], folder: Path) -> None:
    """Run a module with its arguments."""
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stderr=subprocess.DEVNULL,
    )


def compare_predictions(folder: Path) -> None:
    """Print how many predictions are those of the checkpoint: all ought to compute the same."""
    ours = read_labels(folder / "darkroom.csv")
    for label in COMMANDS:
        theirs = read_labels(folder / f"{label}.csv")
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        print(f"{label}: predictions equal to darkroom's: {same:,} of {len(ours):,}")


def read_labels(path: Path) -> list[str]:
    """Return the most probable class of each file."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    column = rows[0].index("predicted" if "predicted" in rows[0] else "label")
    return [row[column] for row in rows[1:]]


if __name__ == "__main__":
    main()
