"""Images that are the same picture: copies of one file, and near duplicates.

Neither search compares all images with all others, so that both take seconds for a million images.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt

from stages.images.image_table import ImageTable

Pairs = npt.NDArray[np.int64]
"""Array (num_pairs, 2) of rows of the table, the smaller one first."""

Frequencies = npt.NDArray[np.int8]
"""Array (N, 64): row after row the 8 x 8 lowest frequencies, down the image and across."""

MIN_LIKENESS = 0.95
"""Least cosine between the frequencies of near duplicates. Hashes alone collide: of CIFAR-10's pairs that are
at most 8 bits apart, the 823 above it are all of one class; of the 658 below it one in six is not."""

_BUCKET_IMAGES = 16
"""About how many images share a bucket, were hashes drawn at random. Those of real images crowd together."""

_MAX_DISTANCE = 64
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


def find_near_duplicates(
    table: ImageTable, copies: Pairs, *, max_bits: int, is_turned: bool = False
) -> Pairs:
    """Return the pairs of images that look the same, sorted.

    Images without contrast are left out, and so are copies, for which their first occurrence stands.

    Args:
        table: All images.
        copies: What `find_copies` found.
        max_bits: How many of the 64 bits of their perceptual hashes may differ.
        is_turned: Whether also those are wanted that look the same once one of them is mirrored or turned by
            90, 180 or 270 degrees.
    """
    is_compared = table.has_status("decoded") & ~table.is_flat
    is_compared[copies[:, 1]] = False
    rows = np.flatnonzero(is_compared)
    frequencies = table.frequencies[rows]
    found = [_compare(table.phash[rows], frequencies, frequencies, max_bits=max_bits)]
    if is_turned:
        own = _hash(frequencies)
        for turned in _turn(frequencies):
            # Each image has two places, one as it is and one turned; a pair takes one of each.
            hashes = np.concatenate((own, _hash(turned)))
            found.append(_compare(hashes, frequencies, turned, max_bits=max_bits))
    pairs = np.sort(rows[np.concatenate(found) % max(1, len(rows))], axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def look_alike(
    table: ImageTable, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], *, max_bits: int
) -> npt.NDArray[np.bool_]:
    """Return whether each row of `left` (N,) is a near duplicate of that of `right` (N,)."""
    is_near = np.bitwise_count(table.phash[left] ^ table.phash[right]) <= max_bits
    likeness = _likeness(table.frequencies[left], table.frequencies[right])
    return np.asarray(is_near & (likeness >= MIN_LIKENESS))


def _compare(hashes: npt.NDArray[np.uint64], own: Frequencies, other: Frequencies, *, max_bits: int) -> Pairs:
    """Return the pairs of places that look the same.

    Args:
        hashes: (N,) to compare all with all, or (2 N,) to compare the first half with the second.
        own: (N, 64), the frequencies of the first of a pair.
        other: (N, 64), the frequencies of the second.
        max_bits: How many bits of their hashes may differ.
    """
    num_images = len(own)
    pairs = _pair_hashes(hashes, max_bits=max_bits)
    if len(hashes) > num_images:
        pairs = pairs[(pairs[:, 0] < num_images) & (pairs[:, 1] >= num_images)]
    alike = _likeness(own[pairs[:, 0]], other[pairs[:, 1] % max(1, num_images)]) >= MIN_LIKENESS
    return pairs[alike]


def _pair_hashes(hashes: npt.NDArray[np.uint64], *, max_bits: int) -> Pairs:
    """Return the places of hashes that differ in at most so many bits.

    Two hashes that differ in at most k bits agree in at least m of k + m bands, so only those that share m
    bands are compared, in the order of their places and each with at most 64. The more images, the more bands
    make a bucket, so that buckets stay small: for 8 bits 7 of the 64 bits are sorted by, 13 or 17.
    """
    num_places = len(hashes)
    wanted = np.log2(max(1, num_places) / _BUCKET_IMAGES)
    num_shared = next(m for m in range(1, 65) if 64 * m / (max_bits + m) >= wanted)
    bands = np.array_split(np.arange(64, dtype=np.uint64), max_bits + num_shared)
    found = np.empty(0, dtype=np.int64)  # pairs as one number each, which sorts ten times as fast
    for shared in combinations(bands, num_shared):
        mask = np.bitwise_or.reduce(np.uint64(1) << np.concatenate(shared))
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        keys, sorted_hashes = keys[order], hashes[order]
        # Positions whose neighbour `distance` further on is in the same bucket. They only ever become fewer,
        # because a bucket is a run of equal keys.
        positions = np.arange(num_places)
        in_buckets = [found]
        for distance in range(1, _MAX_DISTANCE + 1):
            positions = positions[: np.searchsorted(positions, num_places - distance)]
            positions = positions[keys[positions] == keys[positions + distance]]
            if not len(positions):
                break
            bits = sorted_hashes[positions] ^ sorted_hashes[positions + distance]
            near = positions[np.bitwise_count(bits) <= max_bits]
            # A stable sort leaves the places of a bucket in their order, so the smaller one comes first.
            in_buckets.append(order[near] * num_places + order[near + distance])
        # Most pairs share several buckets: kept once, or a film would fill the memory. NumPy 2.4's own unique
        # takes ten times as long.
        found = np.sort(np.concatenate(in_buckets))
        found = found[np.diff(found, prepend=-1) > 0]
    return np.stack(np.divmod(found, max(1, num_places)), axis=1)


def _turn(frequencies: Frequencies) -> Iterator[Frequencies]:
    """Yield the frequencies (N, 64) of images mirrored, turned, and both.

    A mirror changes the sign of every second frequency along an axis, a turn also exchanges the axes. Turned
    by 270 degrees is left out: whichever of two images is turned, the other one is by 90.
    """
    squares = frequencies.reshape(-1, 8, 8)
    signs = np.where(np.arange(8) % 2, -1, 1).astype(np.int8)
    across, down = signs[None, :], signs[:, None]
    exchanged = squares.transpose(0, 2, 1)
    for turned in (squares * across, squares * down, squares * across * down):
        yield turned.reshape(-1, 64)
    for turned in (exchanged, exchanged * across * down, exchanged * across):
        yield turned.reshape(-1, 64)


def _hash(frequencies: Frequencies) -> npt.NDArray[np.uint64]:
    """Return perceptual hashes (N,) as measured, but of the rounded frequencies (N, 64) of the table."""
    medians = np.partition(frequencies[:, 1:], 31, axis=1)[:, 31:32]
    return np.packbits(frequencies > medians, axis=1).view("<u8").ravel()


def _likeness(left: Frequencies, right: Frequencies) -> npt.NDArray[np.float64]:
    """Return the cosines (N,) between the rows of two arrays (N, 64)."""

    def dot(one: Frequencies, other: Frequencies) -> npt.NDArray[np.int64]:
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
