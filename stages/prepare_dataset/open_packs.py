"""Which of the packs that earlier runs left are whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from schemas.shared.image import ImageForm
from stages.prepare_dataset.fingerprint import MEASURED
from stages.prepare_dataset.pack import shape_of
from stages.shared.block_hash import hash_blocks, join_blocks
from stages.shared.files import sha256_of

THREADS = 2
"""That hash, copy and write packs: nearly all of that goes on outside Python."""


class Pack(NamedTuple):
    """An .npy file of images, named for its bytes."""

    path: Path
    digests: bytes
    """SHA-256 of each of its blocks."""


def open_packs(folder: Path, form: ImageForm) -> tuple[list[Pack], list[Path]]:
    """Return the packs whose bytes are those that were written, and their tables; remove all else."""
    tables = sorted(folder.glob("*.table.npy"))
    names = {path: path.name.split(".")[0] for path in tables}
    with ThreadPoolExecutor(THREADS) as threads:
        opened = list(threads.map(lambda path: _open(folder / f"{names[path]}.npy", path, form), tables))
    packs = [pack for pack in opened if pack]
    kept = [path for path, pack in zip(tables, opened, strict=True) if pack]
    in_use = {*kept, *(pack.path for pack in packs)}
    for path in folder.iterdir():
        if path not in in_use and path.suffix in (".npy", ".partial"):
            path.unlink()
    return packs, kept


def _open(pixels: Path, table: Path, form: ImageForm) -> Pack | None:
    """Return a pack if it is whole."""
    try:
        if sha256_of(table) != table.name.split(".")[1]:
            return None
        pack = Pack(pixels, hash_blocks(pixels))
        if join_blocks(pack.digests) != pixels.stem:
            return None
        images, rows = np.load(pixels, mmap_mode="r"), np.load(table, mmap_mode="r")
        is_whole = images.shape == (len(rows), *shape_of(form)) and rows.dtype == MEASURED
    except (OSError, ValueError):
        return None
    return pack if is_whole else None
