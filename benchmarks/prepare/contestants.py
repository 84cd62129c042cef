"""Ways from image files to pixels."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from torch.utils.data import DataLoader

from schemas.shared.manifest import Color, ImageForm
from stages.images.decode import DEFAULT_LIMITS
from stages.images.sources import open_source
from stages.images.workers import start_early
from stages.ingest.decoded_cache import DecodedCache
from stages.ingest.listing import list_by_folders
from stages.ingest.pixels import decode_images

ROOT = Path(__file__).parents[2]
WORKERS = 2
STAGES = ("ingest", "prepare_dataset")


def make_project(folder: Path, *, source: Path, side_px: int) -> Path:
    """Make a DVC repository whose params.yaml names a source, and return it."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["dataset"] |= {"source": str(source), "color": "rgb", "height_px": side_px, "width_px": side_px}
    params["dataset"]["workers"] = WORKERS
    folder.mkdir(exist_ok=True)
    (folder / ".dvc").mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def run_stage(project: Path, *, fresh: bool = True) -> None:
    """Run both stages without earlier outputs, as DVC does; fresh: without what earlier runs kept, either."""
    shutil.rmtree(project / "data", ignore_errors=True)
    if fresh:
        shutil.rmtree(project / ".dvc" / "tmp", ignore_errors=True)
    for stage in STAGES:
        subprocess.run(
            [sys.executable, "-m", f"stages.{stage}"],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            check=True,
        )


def pack(source_path: Path, folder: Path, color: Color, side_px: int) -> None:
    """Read, decode, measure and pack all images of a source."""
    start_early("stages.ingest.decoding")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = open_source(source_path, place=str(source_path))
    listing = list_by_folders(source.list_entries(), name="")
    form = ImageForm(color=color, height_px=side_px, width_px=side_px, resize="squish")
    with closing(DecodedCache(folder / "cache")) as cache:
        decoded = decode_images(
            listing.table, source, cache, folder, form=form, limits=DEFAULT_LIMITS, workers=WORKERS
        )
    assert not decoded.table.has_status("undecodable").any()


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
