"""Images that are the same picture: copies of one file, and near duplicates.

Neither search compares all images with all others, so that both take seconds for a million images.
"""

import numpy as np
import numpy.typing as npt

from stages.images.image_table import ImageTable

Pairs = npt.NDArray[np.int64]
"""Array (num_pairs, 2) of rows of the table, the smaller one first."""

MIN_LIKENESS = 0.95
"""Least cosine between the frequencies of near duplicates. Hashes alone collide: of CIFAR-10's pairs that are
at most 8 bits apart, the 823 above it are all of one class; of the 658 below it one in six is not."""

_MAX_DISTANCE = 256
"""How many others of its bucket an image is compared with. In a film that stands still, 10,000 frames are
still joined through their neighbours, and the pairs are not fifty million."""


def find_copies(table: ImageTable) -> Pairs:
    """Return each copy of a file together with its first occurrence, in the order of the copies."""
    rows = np.flatnonzero(table.has_status("decoded"))
    # Sorting by 8 bytes is many times as fast as by 32; what is equal in those is compared in full.
    prefixes = np.ascontiguousarray(table.sha256[rows, :8]).view("<u8").ravel()
    order = np.argsort(prefixes, kind="stable")
    alike = np.flatnonzero(prefixes[order[1:]] == prefixes[order[:-1]])
    first: dict[bytes, int] = {}
    pairs = [
        (earliest, row)
        for row in rows[np.unique(order[np.concatenate((alike, alike + 1))])].tolist()
        if (earliest := first.setdefault(table.sha256[row].tobytes(), row)) != row
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def find_near_duplicates(table: ImageTable, copies: Pairs, *, max_bits: int) -> Pairs:
    """Return the pairs of images that look the same, sorted.

    Two hashes that differ in at most k bits agree in at least one of k + 1 bands, so only images that share a
    band are compared, in the order of their rows and each with at most 256. Images without contrast are left
    out, and so are copies, for which their first occurrence stands.

    Args:
        table: All images.
        copies: What `find_copies` found.
        max_bits: How many of the 64 bits of their perceptual hashes may differ.
    """
    is_compared = table.has_status("decoded") & ~table.is_flat
    is_compared[copies[:, 1]] = False
    rows = np.flatnonzero(is_compared)
    hashes = table.phash[rows]
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in np.array_split(np.arange(64, dtype=np.uint64), max_bits + 1):
        mask = np.bitwise_or.reduce(np.uint64(1) << band)
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        # Positions whose neighbour `distance` further on is in the same bucket. They only ever become fewer,
        # because a bucket is a run of equal keys.
        positions = np.arange(len(keys))
        distance = 1
        while distance <= _MAX_DISTANCE and len(
            positions := positions[: np.searchsorted(positions, len(keys) - distance)]
        ):
            positions = positions[keys[positions] == keys[positions + distance]]
            left, right = rows[order[positions]], rows[order[positions + distance]]
            near = np.bitwise_count(table.phash[left] ^ table.phash[right]) <= max_bits
            left, right = left[near], right[near]
            alike = _likeness(table.frequencies[left], table.frequencies[right]) >= MIN_LIKENESS
            found.append(np.stack((left[alike], right[alike]), axis=1))
            distance += 1
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _likeness(left: npt.NDArray[np.int8], right: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Return the cosines (N,) between the rows of two arrays (N, 64)."""

    def dot(one: npt.NDArray[np.int8], other: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
        # einsum widens a few values at a time; two int64 copies would take 1 KB for each pair.
        return np.asarray(np.einsum("ij,ij->i", one, other, dtype=np.int64))

    lengths = np.sqrt((dot(left, left) * dot(right, right)).astype(np.float64))
    return np.asarray(dot(left, right) / np.maximum(lengths, 1))


def join_pairs(num_rows: int, *pairs: Pairs) -> npt.NDArray[np.int64]:
    """Return for each row the smallest row that it is joined with, directly or through others."""
    first = np.arange(num_rows)
    left, right = np.concatenate(pairs).T
    while (apart := first[left] != first[right]).any():
        left, right = left[apart], right[apart]
        roots = first[left], first[right]
        # The root of each tree goes below the smallest root that it is joined with. Pointers only lead to
        # smaller rows, so there are no circles, and the last root is the smallest row of all.
        np.minimum.at(first, np.maximum(*roots), np.minimum(*roots))
        while (first != (further := first[first])).any():
            first = further
    return first
