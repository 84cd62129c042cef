"""Ways from image files to pixels."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader

from schemas.shared.image import Color, ImageForm
from stages.images.decode import DEFAULT_LIMITS
from stages.images.workers import start_early
from stages.params.yaml12 import read_yaml
from stages.params.yaml12_scalars import format_yaml
from stages.prepare_dataset.collect import collect_images
from stages.prepare_dataset.ingest import ingest_images
from stages.prepare_dataset.source import open_source
from stages.prepare_dataset.store import PixelStore

ROOT = Path(__file__).parents[2]
WORKERS = 2


def make_project(folder: Path, *, source: Path, side_px: int) -> Path:
    """Make a DVC repository whose params.yaml names a source, and return it."""
    params = read_yaml(ROOT / "params.yaml").data
    params["dataset"] |= {"source": str(source), "color": "rgb", "height_px": side_px, "width_px": side_px}
    params["dataset"]["workers"] = WORKERS
    folder.mkdir(exist_ok=True)
    (folder / ".dvc").mkdir()
    (folder / "params.yaml").write_text(format_yaml(params))
    return folder


def run_stage(project: Path, *, fresh: bool = True) -> None:
    """Run the stage without earlier outputs, as DVC does; fresh: without what earlier runs kept, either."""
    shutil.rmtree(project / "data", ignore_errors=True)
    if fresh:
        shutil.rmtree(project / ".dvc" / "tmp", ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "stages.prepare_dataset"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def pack(source_path: Path, folder: Path, color: Color, side_px: int) -> None:
    """Read, decode, measure and pack all images of a source."""
    start_early("stages.prepare_dataset.reading")
    shutil.rmtree(folder, ignore_errors=True)
    source = open_source(source_path)
    collection = collect_images(source.list_entries(), name="", is_archive=source_path.is_file())
    form = ImageForm(color=color, height_px=side_px, width_px=side_px, resize="squish")
    store = PixelStore(folder / "store", form)
    ingested = ingest_images(
        collection.images, source, store, form=form, limits=DEFAULT_LIMITS, workers=WORKERS
    )
    assert not ingested.reasons
    store.publish(folder, ingested.places, left_out=ingested.places[:0])


class BareDecoding:
    """cv2.imdecode on bytes in memory, in processes that have them already."""

    def __init__(self, files: Sequence[bytes]) -> None:
        context = multiprocessing.get_context("fork")
        self._pipes = []
        for worker in range(WORKERS):
            ours, theirs = context.Pipe()
            context.Process(target=_decode_all, args=(files[worker::WORKERS], theirs), daemon=True).start()
            self._pipes.append(ours)

    def run(self) -> None:
        """Decode all files once."""
        for pipe in self._pipes:
            pipe.send(True)
        for pipe in self._pipes:
            pipe.recv()

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.send(False)


def _decode_all(files: Sequence[bytes], pipe: Any) -> None:
    cv2.setNumThreads(1)
    while pipe.recv():
        for data in files:
            cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
        pipe.send(True)


def exhaust(dataset: Any) -> None:
    """Read a whole data set once."""
    for _ in DataLoader(dataset, batch_size=256, num_workers=WORKERS):
        pass
