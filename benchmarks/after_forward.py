"""Everything that evaluate does but the forward passes, part by part, for generated logits.

    python -m benchmarks.after_forward [--images 100000] [--classes 100]

Runs the real stage, with generated logits in place of the forward passes, in a process of its own. Prints the
seconds of each part, from the index of the images to the published report, and the peak memory.
"""

import argparse
import functools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.generated_project import write_project
from schemas.shared.manifest import ImageForm
from schemas.vision.network import Cnn
from stages.evaluate import loading, stage
from stages.params.read import read_params
from stages.shared.inputs import record_inputs

ROOT = Path(__file__).parents[1]
FORM = ImageForm(color="grayscale", height_px=28, width_px=28, resize="squish")
LOADING = ("read_index_columns", "read_findings")
PARTS = (
    "make_predictions",
    "measure_areas",
    "estimate_metrics",
    "measure_calibration",
    "trace_curves",
    "measure_subgroups",
    "collect_examples",
    "write_tables",
    "render_report",
    "render_summary",
)


def main() -> None:
    """Generate a project, then measure in another process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(
            folder,
            FORM,
            num_images=arguments.images,
            num_classes=arguments.classes,
            threads=2,
            cnn=Cnn(channels=(16, 32, 64), kernel_size=3, dropout=0.0),
        )
        shutil.copy(ROOT / "params.yaml", folder)
        np.save(folder / "logits.npy", draw_logits(arguments.images, num_classes=arguments.classes))
        subprocess.run(
            [sys.executable, "-m", "benchmarks.after_forward", "--measure"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )


def draw_logits(num_images: int, *, num_classes: int) -> np.ndarray:
    """Return float32 logits of which about four in five name the true class."""
    logits = np.random.default_rng(0).standard_normal((num_images, num_classes), dtype=np.float32)
    # The generated test images begin two images of each class into the packed rows.
    logits[np.arange(num_images), np.arange(num_images) % num_classes] += 3.5
    return logits


def measure() -> None:
    """Run the stage in the current folder, with a clock around each part."""
    seconds: dict[str, float] = {}
    started = 0.0

    def load_logits(network: object, batches: Any, **_: object) -> tuple[Tensor, Tensor]:
        nonlocal started
        logits = torch.from_numpy(np.load("logits.npy"))
        started = time.perf_counter()
        return logits, batches.dataset.labels

    for module, names in ((loading, LOADING), (stage, PARTS)):
        for name in names:
            setattr(module, name, clock(getattr(module, name), seconds, name=name))
    setattr(loading, "compute_logits", load_logits)  # noqa: B010 (mypy: the module does not export it)
    params = read_params()
    stage.evaluate(params, record_inputs("evaluate", params, read_params))
    total = time.perf_counter() - started + sum(seconds[name] for name in LOADING)
    for name, some in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{name:20} {some:7.2f} s")
    print(f"{'all else':20} {total - sum(seconds.values()):7.2f} s")
    print(f"{'all':20} {total:7.2f} s; wanted: 10 s or less")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"most memory held {peak:9.2f} GiB; wanted: 1 GiB or less")
    size = sum(file.stat().st_size for file in Path("data/report").iterdir())
    print(f"data/report: {size / 2**20:.0f} MiB, of which the page {page_size() / 2**20:.1f} MiB")


def page_size() -> int:
    """Return the bytes of the report's page."""
    return (Path("data/report") / "report.html").stat().st_size


def clock(call: Callable[..., Any], seconds: dict[str, float], *, name: str) -> Callable[..., Any]:
    """Return a function that also adds up the seconds that it takes."""

    @functools.wraps(call)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **keywords)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

    return timed


if __name__ == "__main__":
    main()
