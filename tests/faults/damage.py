"""Flipped bytes and cuts, in every kind of artifact: found before it is used."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from schemas.shared.image import ImageForm
from schemas.vision.history import History
from stages.evaluate.audit import read_findings
from stages.prepare_dataset.fingerprint import MEASURED
from stages.prepare_dataset.store import PixelStore
from stages.shared.errors import InputError
from stages.shared.files import read_sealed_json
from stages.train.state_file import DamagedState, read_state, write_state
from stages.vision.checkpoint import read_checkpoint
from stages.vision.dataset import read_manifest
from tests.faults.tally import Tally
from tools.verify import check_lock

Reader = Callable[[], object]

READ_BY_NO_STAGE = (
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
    prepared, model = project / "data/prepared", project / "data/model"
    for name in ("manifest.json", "index.csv", "labels.npy", "splits.npy", "images-00000.npy"):
        yield name, prepared / name, lambda: read_manifest(prepared)
    for name in ("best.safetensors", "last.safetensors"):
        path = model / name
        yield name, path, lambda path=path: read_checkpoint(path)  # type: ignore[misc]
    history = model / "history.json"
    yield "history.json", history, lambda: read_sealed_json(history, History, made_by="dvc repro train")
    findings = project / "data/audit/findings.csv"
    for path in (findings, findings.with_name("findings.csv.sha256")):
        yield path.name, path, lambda: read_findings(findings, tested=[])
    for name in READ_BY_NO_STAGE:
        yield f"{Path(name).name}, by verify", project / name, lambda: _agrees_with_lock(project)
    state = scratch / "state.safetensors"
    write_state(state, {"weights": torch.arange(600.0).reshape(20, 30), "epoch": 3, "history": [{"a": 0.5}]})
    yield "resume state", state, lambda: read_state(state)
    yield from _list_packs(scratch / "store")


def _agrees_with_lock(project: Path) -> bool:
    with contextlib.chdir(project):
        problems, _ = check_lock()
    return not problems


def _list_packs(folder: Path) -> Iterator[tuple[str, Path, Reader]]:
    form = ImageForm(color="grayscale", height_px=6, width_px=5, resize="squish")
    measured = np.zeros(40, dtype=MEASURED)
    digests = measured["fingerprint"]["sha256"]
    digests[:] = np.random.default_rng(0).integers(0, 256, digests.shape)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 6, 5, 1), dtype=np.uint8)
    store = PixelStore(folder, form)
    store.append(measured, pixels)
    store.finish_pack()
    files = {path: path.read_bytes() for path in folder.glob("*.npy") if path.name != "known.npy"}

    def is_known(damaged: Path) -> bool:
        """Return whether a new run takes over the pack; it removes what is damaged."""
        for path, data in files.items():
            if path != damaged:
                path.write_bytes(data)
        return len(PixelStore(folder, form).read_known()) == len(measured)

    for path in files:
        for file, data in files.items():  # a new run removed those of the kind before
            file.write_bytes(data)
        name = "pixel store table" if path.name.endswith(".table.npy") else "pixel store pack"
        yield name, path, lambda path=path: is_known(path)  # type: ignore[misc]
