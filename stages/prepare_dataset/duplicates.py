"""Images that are the same picture: copies of one file, and near duplicates."""

import numpy as np
import numpy.typing as npt

from stages.prepare_dataset.details import Details
from stages.prepare_dataset.fingerprint import Fingerprints

Pairs = npt.NDArray[np.int64]
"""Array (num_pairs, 2) of rows, the smaller one first."""

MIN_LIKENESS = 0.95
"""Least cosine between the shapes of near duplicates. Hashes alone collide: of CIFAR-10's pairs that are at
most 8 bits apart, the 823 above it are all of one class; of the 658 below it one in six is not."""


_MAX_DISTANCE = 256
"""How many others of its bucket an image is compared with. Of 10,000 frames of a film that stands still all
are joined through their neighbours, and the pairs are not fifty million."""


def find_copies(fingerprints: Fingerprints) -> Pairs:
    """Return each copy of a file together with its first occurrence, in the order of the copies."""
    starts = np.ascontiguousarray(fingerprints["sha256"][:, :8]).view("<u8").ravel()
    order = np.argsort(starts, kind="stable")
    alike = np.flatnonzero(starts[order[1:]] == starts[order[:-1]])
    first: dict[bytes, int] = {}
    pairs = [
        (earliest, row)
        for row in np.unique(order[np.concatenate((alike, alike + 1))]).tolist()
        if (earliest := first.setdefault(fingerprints["sha256"][row].tobytes(), row)) != row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def find_near_duplicates(fingerprints: Fingerprints, details: Details, *, max_bits: int) -> Pairs:
    """Return the pairs of images that look the same, sorted.

    Two hashes that differ in at most k bits agree in at least one of k + 1 bands, so only images that share a
    band are compared, in the order of their rows and each with at most 256. Copies of one file, and images
    without contrast, are left out.

    Args:
        fingerprints: Of all images.
        details: Of all images.
        max_bits: How many of the 64 bits of their perceptual hashes may differ.
    """
    unique = np.ones(len(fingerprints), dtype=np.bool_)
    unique[find_copies(fingerprints)[:, 1]] = False
    rows = np.flatnonzero(unique & ~fingerprints["flat"])
    hashes = fingerprints["phash"][rows]
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in np.array_split(np.arange(64, dtype=np.uint64), max_bits + 1):
        mask = np.bitwise_or.reduce(np.uint64(1) << band)
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        # Places whose neighbour so many places further is in the same bucket; they only ever become fewer.
        places = np.arange(len(keys))
        distance = 1
        while distance <= _MAX_DISTANCE and len(
            places := places[: np.searchsorted(places, len(keys) - distance)]
        ):
            places = places[keys[places] == keys[places + distance]]
            left, right = rows[order[places]], rows[order[places + distance]]
            near = np.bitwise_count(fingerprints["phash"][left] ^ fingerprints["phash"][right]) <= max_bits
            left, right = left[near], right[near]
            alike = _likeness(details.at(left)["shape"], details.at(right)["shape"]) >= MIN_LIKENESS
            found.append(np.stack((left[alike], right[alike]), axis=1))
            distance += 1
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _likeness(left: npt.NDArray[np.int8], right: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Return the cosine between the rows of two arrays of shapes."""
    wide, other = left.astype(np.int64), right.astype(np.int64)
    lengths = np.sqrt(((wide**2).sum(axis=1) * (other**2).sum(axis=1)).astype(np.float64))
    return np.asarray((wide * other).sum(axis=1) / np.maximum(lengths, 1))


def join_pairs(num_rows: int, *pairs: Pairs) -> npt.NDArray[np.int64]:
    """Return for each row the smallest row that it is joined with, directly or through others."""
    parents: dict[int, int] = {}  # of the rows that are joined; the others are their own

    def find(row: int) -> int:
        while (parent := parents.get(row, row)) != row:
            parents[row] = parents.get(parent, parent)
            row = parents[row]
        return row

    for left, right in np.concatenate(pairs).tolist():
        low, high = sorted((find(left), find(right)))
        parents[high] = low
    first = np.arange(num_rows)
    for row in parents:
        first[row] = find(row)
    return first
