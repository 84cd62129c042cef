"""A clone of the project that prepares in a moment and trains for a few hundred short steps."""

import zipfile
from pathlib import Path

import numpy as np

from tests.images.trees import encode
from tests.pipeline.project import Project, clone_project

_SMALLER = (
    ("source: data/digits.zip", "source: data/small.zip"),
    ("height_px: 28", "height_px: 12"),
    ("width_px: 28", "width_px: 12"),
    ("batch_size: 64", "batch_size: 8"),
    ("    - 16\n    - 32\n    - 64\n    kernel_size", "    - 8\n    - 8\n    kernel_size"),
)


def make_small_project(
    destination: Path,
    *,
    num_epochs: int,
    num_each: int = 100,
    save_every_steps: int = 20,
    last_stage: str = "train",
    formats: str = "[]",
) -> Project:
    """Return a clone in which all up to a stage ran undisturbed; dvc.lock is committed.

    Args:
        destination: A folder that is not there yet.
        num_epochs: Epochs to train for.
        num_each: Images of each of three classes.
        save_every_steps: When to save the state.
        last_stage: By its name; or several names.
        formats: What the stage export exports.
    """
    project = clone_project(destination, num_epochs=num_epochs)
    for old, new in _SMALLER:
        project.set(old, new)
    project.set("save_every_steps:", f"save_every_steps: {save_every_steps}")
    project.set("formats: []", f"formats: {formats}")
    write_small_archive(project.root / "data/small.zip", num_each=num_each)
    project.run(f"dvc repro {last_stage}")
    project.run("git add -A && git commit -qm results")
    return project


def write_small_archive(path: Path, *, num_each: int) -> None:
    """Write images of three classes, each a bright column on noise."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for label in range(3):
            for number in range(num_each):
                pixels = generator.integers(0, 160, (12, 12), dtype=np.uint8)
                pixels[:, 3 * label + 1] += 70
                name = zipfile.ZipInfo(f"class {label}/{number}.png", date_time=(2000, 1, 1, 0, 0, 0))
                archive.writestr(name, encode(pixels))
