"""Shards of pixels as one array of rows, mapped into memory, never loaded whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.shared.manifest import FileRecord


class PackedImages:
    """The images of all shards, by their row."""

    def __init__(self, folder: Path, shards: Sequence[FileRecord]) -> None:
        self._paths = [folder / shard.name for shard in shards]
        self._open()

    def _open(self) -> None:
        # "c" instead of "r": torch warns of arrays that cannot be written. The files never change.
        self._shards: list[npt.NDArray[np.uint8]] = [np.load(path, mmap_mode="c") for path in self._paths]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])

    def __getstate__(self) -> list[Path]:
        """Travel to a worker process as paths: a pickled memory map would carry all its pixels."""
        return self._paths

    def __setstate__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._open()

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return uint8 (N, height, width, channels) for int64 row numbers (N,); not to be written into."""
        if len(rows) == 1:  # no copy
            shard = int(np.searchsorted(self._starts, rows[0], side="right")) - 1
            row = int(rows[0] - self._starts[shard])
            return np.asarray(self._shards[shard][row : row + 1])
        if len(self._shards) == 1:
            return self._shards[0][rows]
        images = np.empty((len(rows), *self._shards[0].shape[1:]), dtype=np.uint8)
        shard_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shard_of_row):
            chosen = shard_of_row == shard
            images[chosen] = self._shards[shard][rows[chosen] - self._starts[shard]]
        return images
