"""Which of the packs that earlier runs left are whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from schemas.shared.image import ImageForm
from stages.prepare_dataset.fingerprint import MEASURED
from stages.prepare_dataset.pack import shape_of
from stages.shared.files import sha256_of

THREADS = 2
"""That hash, copy and write packs: nearly all of that goes on outside Python."""


def open_packs(folder: Path, form: ImageForm) -> tuple[list[Path], list[Path]]:
    """Return the packs whose bytes are those that were written, and their tables; remove all else."""
    tables = sorted(folder.glob("*.table.npy"))
    names = {path: path.name.split(".")[0] for path in tables}
    with ThreadPoolExecutor(THREADS) as threads:
        whole = list(threads.map(lambda path: _is_whole(folder / f"{names[path]}.npy", path, form), tables))
    kept = [path for path, is_whole in zip(tables, whole, strict=True) if is_whole]
    packs = [folder / f"{names[path]}.npy" for path in kept]
    for path in folder.iterdir():
        if path not in {*kept, *packs} and path.suffix in (".npy", ".partial"):
            path.unlink()
    return packs, kept


def _is_whole(pixels: Path, table: Path, form: ImageForm) -> bool:
    try:
        if sha256_of(table) != table.name.split(".")[1] or sha256_of(pixels) != pixels.stem:
            return False
        images, rows = np.load(pixels, mmap_mode="r"), np.load(table, mmap_mode="r")
        return bool(images.shape == (len(rows), *shape_of(form)) and rows.dtype == MEASURED)
    except (OSError, ValueError):
        return False
