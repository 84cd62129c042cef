"""Images that are the same picture: copies of one file, and near duplicates."""

import numpy as np
import numpy.typing as npt

from stages.prepare_dataset.fingerprint import Fingerprints

Pairs = npt.NDArray[np.int64]
"""Array (num_pairs, 2) of rows, the smaller one first."""

MIN_LIKENESS = 0.95
"""Least cosine between the shapes of near duplicates. Hashes alone collide: of CIFAR-10's pairs that are at
most 8 bits apart, the 823 above it are all of one class; of the 658 below it one in six is not."""


def find_copies(fingerprints: Fingerprints) -> Pairs:
    """Return each copy of a file together with its first occurrence, in the order of the copies."""
    words = np.ascontiguousarray(fingerprints["sha256"]).view("<u8")  # four a file
    order = np.lexsort(words.T)
    is_copy = np.zeros(len(order), dtype=np.bool_)
    is_copy[1:] = (words[order[1:]] == words[order[:-1]]).all(axis=1)
    # Sorting is stable, so that the first of equal files stands before its copies.
    first = order[np.maximum.accumulate(np.where(is_copy, 0, np.arange(len(order))))]
    pairs = np.stack((first[is_copy], order[is_copy]), axis=1)
    return pairs[np.argsort(pairs[:, 1])]


def find_near_duplicates(fingerprints: Fingerprints, *, max_bits: int) -> Pairs:
    """Return the pairs of images that look the same, sorted.

    Two hashes that differ in at most k bits agree in at least one of k + 1 bands, so only images that share a
    band are compared. Copies of one file, and images without contrast, are left out.

    Args:
        fingerprints: Of all images.
        max_bits: How many of the 64 bits of their perceptual hashes may differ.
    """
    unique = np.ones(len(fingerprints), dtype=np.bool_)
    unique[find_copies(fingerprints)[:, 1]] = False
    rows = np.flatnonzero(unique & ~fingerprints["flat"])
    hashes = fingerprints["phash"][rows]
    shapes = fingerprints["shape"][rows]
    bits = np.unpackbits(np.ascontiguousarray(hashes)[:, None].view(np.uint8), axis=1)
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in np.array_split(np.arange(64), max_bits + 1):
        padded = np.zeros((len(rows), 64), dtype=np.uint8)
        padded[:, : len(band)] = bits[:, band]
        keys = np.packbits(padded, axis=1).view(np.uint64).ravel()
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        # Places whose neighbour so many places further is in the same bucket; they only ever become fewer.
        places = np.arange(len(keys))
        distance = 1
        while len(places := places[: np.searchsorted(places, len(keys) - distance)]):
            places = places[keys[places] == keys[places + distance]]
            left, right = order[places], order[places + distance]
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= max_bits
            left, right = left[near], right[near]
            alike = _likeness(shapes[left], shapes[right]) >= MIN_LIKENESS
            found.append(np.stack((left[alike], right[alike]), axis=1))
            distance += 1
    return rows[np.unique(np.sort(np.concatenate(found), axis=1), axis=0)]


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
