"""Copies and near duplicates, against comparing all with all; and what they join."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stages.prepare_dataset.fingerprint import MEASURED, Measured

from stages.prepare_dataset.duplicates import (
    MIN_LIKENESS,
    Pairs,
    find_copies,
    find_near_duplicates,
    join_pairs,
)
from tests.prepare_dataset.samples import details_of


def rows_of(hashes: list[int], *, seed: int = 0) -> Measured:
    """Return what is known of images that all have other bytes, all of one shape."""
    rows = np.zeros(len(hashes), dtype=MEASURED)
    rows["fingerprint"]["sha256"] = np.random.default_rng(seed).integers(0, 256, (len(hashes), 32))
    rows["fingerprint"]["phash"] = np.array(hashes, dtype=np.uint64)
    rows["details"]["shape"][:, 1] = 127
    return rows


def near_pairs(rows: Measured, *, max_bits: int) -> Pairs:
    return find_near_duplicates(rows["fingerprint"], details_of(rows), max_bits=max_bits)


def all_with_all(rows: Measured, max_bits: int) -> list[tuple[int, int]]:
    """Return the pairs that a double loop finds."""
    hashes = rows["fingerprint"]["phash"]
    return [
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= max_bits
    ]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4), st.integers(0, 8), st.randoms())
def test_bands_find_what_comparing_all_finds(centres: list[int], max_bits: int, random: object) -> None:
    """Around a few hashes, up to 12 bits off, every pair near enough is found, and no other."""
    generator = np.random.default_rng(len(centres) * 9 + max_bits)
    hashes = []
    for centre in centres * 8:
        for bit in generator.choice(64, generator.integers(0, 7), replace=False):
            centre ^= 1 << int(bit)
        hashes.append(centre)
    rows = rows_of(hashes)
    assert list(map(tuple, near_pairs(rows, max_bits=max_bits).tolist())) == all_with_all(rows, max_bits)


def test_shapes_decide() -> None:
    """Of images with one hash only those of one shape are near, whatever their contrast."""
    rows = rows_of([7, 7, 7])
    rows["details"]["shape"][1, :3] = (0, 100, 20)
    rows["details"]["shape"][2, :3] = (0, 60, 110)
    assert near_pairs(rows, max_bits=0).tolist() == [[0, 1]]
    assert 100 / np.hypot(100, 20) > MIN_LIKENESS > 60 / np.hypot(60, 110)


def test_flat_images_are_like_none() -> None:
    """Two walls of one colour are no near duplicates."""
    rows = rows_of([0, 0, 5, 5])
    rows["fingerprint"]["flat"][:2] = True
    assert near_pairs(rows, max_bits=2).tolist() == [[2, 3]]


def test_copies() -> None:
    """Each copy is paired with the first of its bytes, and is no near duplicate besides."""
    rows = rows_of([1, 2, 1, 1, 9 << 20])
    rows["fingerprint"]["sha256"][[2, 3]] = rows["fingerprint"]["sha256"][0]
    assert find_copies(rows["fingerprint"]).tolist() == [[0, 2], [0, 3]]
    assert near_pairs(rows, max_bits=2).tolist() == [[0, 1]]


def test_digests_that_end_in_zeros() -> None:
    """A zero byte is a byte like any other."""
    rows = rows_of([1, 2])
    rows["fingerprint"]["sha256"][:] = 0
    rows["fingerprint"]["sha256"][0, 0] = rows["fingerprint"]["sha256"][1, 1] = 1
    assert not len(find_copies(rows["fingerprint"]))


@pytest.mark.parametrize("max_bits", [0, 2, 8])
def test_no_images_and_one(max_bits: int) -> None:
    """There is nothing to pair."""
    for hashes in ([], [5]):
        assert near_pairs(rows_of(hashes), max_bits=max_bits).shape == (0, 2)


def test_a_film_that_stands_still() -> None:
    """Thousands of frames that look alike are one unit, and their pairs stay few."""
    rows = rows_of([3] * 4000)
    pairs = near_pairs(rows, max_bits=2)
    assert len(pairs) < 4000 * 256
    assert (join_pairs(4000, pairs) == 0).all()


def test_many_images_are_compared() -> None:
    """100,000 random hashes, with 4 bits of tolerance: all pairs would be five thousand million."""
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    hashes[1::1000] = hashes[0::1000] ^ np.uint64(1 << 40 | 3)
    pairs = near_pairs(rows_of(hashes.tolist()), max_bits=4)
    assert pairs.tolist() == [[i, i + 1] for i in range(0, 100_000, 1000)]


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_join_is_the_closure(num_rows: int, raw: list[tuple[int, int]]) -> None:
    """Rows have the same first one exactly if a chain of pairs leads from one to the other."""
    pairs = [(i, j) for i, j in raw if i < num_rows and j < num_rows]
    reach = np.eye(num_rows, dtype=np.bool_)
    for i, j in pairs:
        reach[i, j] = reach[j, i] = True
    for _ in range(num_rows):
        reach = reach @ reach
    joined = join_pairs(num_rows, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    assert joined.tolist() == reach.argmax(axis=1).tolist()
