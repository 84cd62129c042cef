"""From the archive of CIFAR-10 to a test accuracy: every recipe, with several seeds, each in a clone.

    python -m benchmarks.recipes recipes/cifar10_fast.yaml recipes/cifar10_accurate.yaml --seeds 0 1 2

Each run is a `dvc repro` in a temporary clone of the last commit with a cache of its own, so that nothing is
reused: reading the archive, starting up, training and testing all count. Prints seconds and accuracies, and
draws them. `--epochs` is for trying it out.
"""

import argparse
import csv
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.loader import ROOT
from schemas.__main__ import format_yaml
from stages.params.document import read_document

_WIDTH, _HEIGHT, _MARGIN = 720, 420, 70
_MAX_TICKS = 8
_COLORS = ("#1f5fa8", "#c03020", "#2f8f4f", "#8a4fa0", "#b07a10", "#444444")


class Run(NamedTuple):
    """One recipe with one seed."""

    recipe: str
    seed: int
    seconds: float
    val_accuracy: float
    test_accuracy: float


def main() -> None:
    """Run, print and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--archive", type=Path, default=ROOT.parent / "shared/data/cifar10.zip")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's own, warm-up in proportion")
    parser.add_argument(
        "--output", type=Path, default=Path("recipes"), help="writes OUTPUT.csv and OUTPUT.png"
    )
    parser.add_argument("--add", action="store_true", help="keep the runs that OUTPUT.csv has")
    arguments = parser.parse_args()
    runs = read_csv(arguments.output.with_suffix(".csv")) if arguments.add else []
    # Seeds outside: what slows the machine down for a while slows all recipes down.
    for seed in arguments.seeds:
        for recipe in arguments.recipes:
            runs.append(run_recipe(recipe, seed, archive=arguments.archive, num_epochs=arguments.epochs))
            print(describe(runs[-1:]), flush=True)
            write_csv(arguments.output.with_suffix(".csv"), runs)
    print()
    for recipe in dict.fromkeys(run.recipe for run in runs):
        print(describe([run for run in runs if run.recipe == recipe]))
    draw(arguments.output.with_suffix(".png"), runs)


def run_recipe(recipe: Path, seed: int, *, archive: Path, num_epochs: int | None) -> Run:
    """Run the pipeline by a recipe's parameters, and take the time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        shutil.copy(archive, folder / "data/cifar10.zip")
        params = read_document(recipe).data
        params["training"]["seed"] = seed
        if num_epochs is not None:
            share = num_epochs / params["training"]["num_epochs"]
            params["lr_scheduler"]["warmup_epochs"] *= share
            params["training"]["num_epochs"] = num_epochs
        (folder / "params.yaml").write_text(format_yaml(params), encoding="utf-8")
        # The repository's own packages and code, whatever is installed.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "DVC_SITE_CACHE_DIR": f"{name}/site"}
        environment.pop("PYTHONPATH", None)
        start = time.perf_counter()
        with (folder / "repro.log").open("w") as log:
            done = subprocess.run(
                ["dvc", "repro"], cwd=folder, env=environment, stdout=log, stderr=log, check=False
            )
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"{recipe}, seed {seed}:\n{(folder / 'repro.log').read_text()[-3000:]}")
        val, test = (
            json.loads((folder / f"data/metrics/{stage}.json").read_text()) for stage in ("train", "test")
        )
        label = recipe.stem if num_epochs is None else f"{recipe.stem}, {num_epochs} epochs"
        return Run(label, seed, seconds, val["val"]["accuracy"], test["accuracy"])


def describe(runs: list[Run]) -> str:
    """Return a line: a run, or the mean of several of one recipe."""
    seconds, val, test = (statistics.mean(values) for values in zip(*(run[2:] for run in runs), strict=True))
    seeds = f"seed {runs[0].seed}" if len(runs) == 1 else f"mean of {len(runs)}"
    return (
        f"{runs[0].recipe:28}{seeds:12}{int(seconds // 60)}:{seconds % 60:04.1f} min   "
        f"validation {val:.2%}   test {test:.2%}"
    )


def read_csv(path: Path) -> list[Run]:
    """Return the runs that write_csv wrote."""
    with path.open(newline="") as file:
        return [
            Run(row["recipe"], int(row["seed"]), *(float(row[name]) for name in Run._fields[2:]))
            for row in csv.DictReader(file)
        ]


def write_csv(path: Path, runs: list[Run]) -> None:
    """Write a line for each run so far."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Run._fields)
        writer.writerows(runs)


def draw(path: Path, runs: list[Run]) -> None:
    """Draw test accuracy over minutes, a dot for each run."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    at_minutes = ticks(0.0, max(run.seconds for run in runs) / 60)
    accuracies = [run.test_accuracy for run in runs]
    at_accuracies = ticks(min(accuracies), max(accuracies) + 0.01)
    last, bottom, top = at_minutes[-1], at_accuracies[0], at_accuracies[-1]

    def x(minutes: float) -> float:
        return _MARGIN + minutes / last * (_WIDTH - 2 * _MARGIN)

    def y(accuracy: float) -> float:
        return _HEIGHT - _MARGIN - (accuracy - bottom) / (top - bottom) * (_HEIGHT - 2 * _MARGIN)

    for minutes in at_minutes:
        pen.line((x(minutes), y(bottom), x(minutes), y(top)), fill="#dddddd")
        pen.text((x(minutes), y(bottom) + 14), f"{minutes:g}", fill="black", anchor="mm")
    for accuracy in at_accuracies:
        pen.line((x(0), y(accuracy), x(last), y(accuracy)), fill="#dddddd")
        pen.text((x(0) - 8, y(accuracy)), f"{accuracy * 100:.4g} %", fill="black", anchor="rm")
    for number, recipe in enumerate(dict.fromkeys(run.recipe for run in runs)):
        color = _COLORS[number % len(_COLORS)]
        for run in (run for run in runs if run.recipe == recipe):
            at = x(run.seconds / 60), y(run.test_accuracy)
            pen.ellipse((at[0] - 4, at[1] - 4, at[0] + 4, at[1] + 4), fill=color)
        pen.text((x(0) + 10, y(top) + 10 + 16 * number), recipe, fill=color, anchor="lm")
    pen.text((_WIDTH / 2, _HEIGHT - 20), "minutes from the archive to the report", fill="black", anchor="mm")
    pen.text(
        (_WIDTH / 2, 20), f"test accuracy on CIFAR-10, {os.cpu_count()} cores", fill="black", anchor="mm"
    )
    picture.save(path)


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers, evenly, from one at or below to one at or above."""
    step = 10.0 ** math.floor(math.log10((high - low) / _MAX_TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _MAX_TICKS)
    return [number * step for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


if __name__ == "__main__":
    main()
