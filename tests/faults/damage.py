"""Flipped bytes and cuts, in every kind of artifact: found before it is used."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from schemas.vision.checkpoint import History
from stages.evaluate.loading import read_findings
from stages.export.onnx_model import read_onnx
from stages.images.image_table import read_ingested
from stages.ingest.decoded_cache import DecodedCache
from stages.ingest.measure import FEATURES
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json
from stages.train.state_file import DamagedState, read_state, write_state
from stages.vision.checkpoint import read_checkpoint
from stages.vision.dataset import read_manifest
from tests.faults.tally import Tally
from tools.verify import check_lock

Reader = Callable[[], object]

READ_BY_NO_STAGE = (
    "data/export/manifest.json",
    "data/dvclive/plots/metrics/val/loss.tsv",
    "data/metrics/test.json",
    "data/report/predictions.csv",
)
"""Of each output that only people, DVC and `python -m tools.verify` read, a file."""


def damage_artifacts(project: Path, scratch: Path, *, flips: int, cuts: int, seed: int) -> Iterator[Tally]:
    """Damage each artifact of a trained project so many times, and yield what came of each kind.

    Args:
        project: In which all stages ran; its files are left as they were.
        scratch: A folder for what a project does not keep.
        flips: Bytes changed, one at a time, for each kind.
        cuts: Lengths cut to, for each kind.
        seed: Of places and values.
    """
    generator = random.Random(seed)
    for name, path, read in _list_artifacts(project, scratch):
        tally = Tally(f"damaged {name}")
        whole = path.read_bytes()
        path.chmod(0o644)
        assert not _is_refused(path, whole, read), f"{path} is refused as it is"
        for number in range(flips + cuts):
            if number < flips:
                place = generator.randrange(len(whole))
                value = whole[place] ^ generator.randrange(1, 256)
                damaged = whole[:place] + bytes([value]) + whole[place + 1 :]
                what = f"byte {place} as {value}"
            else:
                length = generator.randrange(len(whole))
                damaged, what = whole[:length], f"cut to {length} bytes"
            tally.count(_is_refused(path, damaged, read), f"{what} was not found")
        path.write_bytes(whole)
        yield tally


def _is_refused(path: Path, data: bytes, read: Reader) -> bool:
    path.write_bytes(data)
    try:
        return read() is False
    except (InputError, DamagedState):
        return True


def _list_artifacts(project: Path, scratch: Path) -> Iterator[tuple[str, Path, Reader]]:
    """Yield each kind, a file of it, and what reads it: raises, or returns False, for one that is damaged."""
    images, prepared, model = (project / "data" / name for name in ("images", "prepared", "model"))
    for name in ("manifest.json", "table.safetensors"):
        yield f"images/{name}", images / name, lambda: read_ingested(images)
    for name in ("manifest.json", "index.csv", "labels.npy", "splits.npy", "rows.npy"):
        yield name, prepared / name, lambda: read_manifest(prepared)
    yield "images-00000.npy", images / "images-00000.npy", lambda: read_manifest(prepared)
    for name in ("best.safetensors", "last.safetensors"):
        path = model / name
        yield name, path, lambda path=path: read_checkpoint(path)  # type: ignore[misc]
    history = model / "history.json"
    yield "history.json", history, lambda: read_sealed_json(history, History, made_by="dvc repro train")
    if (exported := project / "data/export/model.onnx").exists():
        yield exported.name, exported, lambda: read_onnx(exported)
    findings = project / "data/audit/findings.csv"
    for path in (findings, findings.with_name("findings.csv.sha256")):
        yield path.name, path, lambda: read_findings(findings, tested=[])
    for name in READ_BY_NO_STAGE:
        yield f"{Path(name).name}, by verify", project / name, lambda: _agrees_with_lock(project)
    state = scratch / "state.safetensors"
    write_state(state, {"weights": torch.arange(600.0).reshape(20, 30), "epoch": 3, "history": [{"a": 0.5}]})
    yield "resume state", state, lambda: read_state(state)
    yield from _list_cache(scratch / "cache")


def _agrees_with_lock(project: Path) -> bool:
    with contextlib.chdir(project):
        problems, _ = check_lock()
    return not problems


def _list_cache(folder: Path) -> Iterator[tuple[str, Path, Reader]]:
    """Yield the shard and the database of a cache: what is damaged is forgotten, never used."""
    generator = np.random.default_rng(0)
    digests = [generator.bytes(32) for _ in range(40)]
    features = np.zeros(40, dtype=FEATURES)
    features["phash"] = generator.integers(0, 2**64, 40, dtype=np.uint64)
    pixels = generator.integers(0, 256, (40, 6, 5, 1), dtype=np.uint8)
    with contextlib.closing(DecodedCache(folder)) as cache:
        written = folder / "shard.partial"
        with written.open("wb") as file:
            np.save(file, pixels)
        shard = folder / cache.add_shard(written, digests, features).name
    files = {path: path.read_bytes() for path in (folder / "images.sqlite", shard)}

    def is_whole(damaged: Path) -> bool:
        """Check that a new run finds nothing but what was written; all of it, if nothing is damaged.

        A byte that the database does not use may change: nothing is found wrong by it, and nothing is wrong.
        """
        was_whole = damaged.read_bytes() == files[damaged]
        for path, data in files.items():
            if path != damaged:
                path.write_bytes(data)
        with contextlib.closing(DecodedCache(folder)) as cache:
            cache.forget_damaged()
            known = cache.find_images(digests)
            found = np.flatnonzero(known.is_known)
            assert (known.features[found] == features[found]).all()
            if len(found):
                np.testing.assert_array_equal(
                    cache.read_pixels(known.shard[found], known.row[found]), pixels[found]
                )
            assert known.is_known.all() or not was_whole
        return was_whole

    for path in files:
        for other, data in files.items():  # a new run removed those of the kind before
            other.write_bytes(data)
        name = "decoded shard" if path.suffix == ".npy" else "decoded database"
        yield name, path, lambda path=path: is_whole(path)  # type: ignore[misc]
