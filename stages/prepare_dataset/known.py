"""The table of images that need not be decoded: what all packs hold, by the SHA-256 of the files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.prepare_dataset.fingerprint import MEASURED
from stages.prepare_dataset.pack import npy_header

PLACE = np.dtype([("pack", "<i4"), ("row", "<i4")])
"""Where an image's pixels are; pack is -1 for one that has none."""

Places = npt.NDArray[np.void]
"""Array of PLACE."""

KNOWN = np.dtype([("key", "<u8"), ("measured", MEASURED), ("place", PLACE)])
"""An image that need not be decoded; key: the first bytes of its SHA-256, as a number."""

Known = npt.NDArray[np.void]
"""Array of KNOWN, in the order of the keys."""

_ROWS_PER_BLOCK = 2**15


def write_known(path: Path, tables: Sequence[Path]) -> None:
    """Write what the tables of all packs hold, in the order of their keys, some at a time.

    Not into a mapped file: on a disk that is full, that would end the process without a word.
    """
    lengths = [len(np.load(table, mmap_mode="r")) for table in tables]
    starts = np.cumsum([0, *lengths])
    keys = np.empty(starts[-1], dtype=np.uint64)
    for start, table in zip(starts.tolist(), tables, strict=False):
        digests = np.load(table, mmap_mode="r")["fingerprint"]["sha256"]
        keys[start : start + len(digests)] = keys_of(digests)
    order = np.argsort(keys, kind="stable")
    with path.open("wb") as file:
        file.write(npy_header(len(keys), KNOWN))
        for start in range(0, len(order), _ROWS_PER_BLOCK):
            some = order[start : start + _ROWS_PER_BLOCK]
            packs = np.searchsorted(starts, some, side="right") - 1
            block = np.empty(len(some), dtype=KNOWN)
            block["key"] = keys[some]
            block["place"]["pack"] = packs
            block["place"]["row"] = some - starts[packs]
            for pack in np.unique(packs).tolist():
                chosen = packs == pack
                block["measured"][chosen] = np.load(tables[pack], mmap_mode="r")[
                    block["place"]["row"][chosen]
                ]
            file.write(block.data)


def keys_of(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the first bytes of each SHA-256 (N, 32), as a number."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.uint64)


def find_known(known: Known, digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the row of each SHA-256 (N, 32) in the table, -1 for one that is not there."""
    if not len(known) or not len(digests):
        return np.full(len(digests), -1, dtype=np.int64)
    wanted = keys_of(digests)
    keys = np.ascontiguousarray(known["key"])
    rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    is_there = keys[rows] == wanted
    # Two files that begin alike are read: the first row alone is looked at.
    is_there[is_there] = (
        known["measured"]["fingerprint"]["sha256"][rows[is_there]] == digests[is_there]
    ).all(axis=1)
    return np.where(is_there, rows, -1)
