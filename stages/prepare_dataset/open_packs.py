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


class PackOpening:
    """Packs that are compared with their names while whoever wants them does something else."""

    def __init__(self, folder: Path, form: ImageForm) -> None:
        for path in folder.glob("*.partial"):
            path.unlink()
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS)
        self._opened = {
            table: self._threads.submit(_open, folder / f"{table.name.split('.')[0]}.npy", table, form)
            for table in sorted(folder.glob("*.table.npy"))
        }

    def wait(self) -> tuple[list[Pack], list[Path]]:
        """Return the packs whose bytes are those that were written, and their tables; remove all others."""
        found = {table: pack for table, opened in self._opened.items() if (pack := opened.result())}
        in_use = {*found, *(pack.path for pack in found.values())}
        for path in {*self._folder.glob("*.npy")} - in_use:
            path.unlink()
        return list(found.values()), list(found)

    def close(self) -> None:
        """Give up what was not begun."""
        self._threads.shutdown(cancel_futures=True)


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
