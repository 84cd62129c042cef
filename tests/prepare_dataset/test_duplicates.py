"""Copies and near duplicates, against comparing all with all; and what they join."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.images.image_table import ImageTable
from stages.ingest.appearance import count_levels
from stages.ingest.measure import measure_images, shrink
from stages.prepare_dataset.duplicates import (
    MIN_LIKENESS,
    Pairs,
    find_copies,
    find_near_duplicates,
    join_pairs,
)
from tests.images.trees import decode_whole, encode, photograph
from tests.prepare_dataset.tables import concatenate, other_files, table_of


def table_with(hashes: list[int]) -> ImageTable:
    """Return images of these perceptual hashes, whose bytes differ and whose frequencies are the same."""
    frequencies = np.zeros((len(hashes), 64), dtype=np.int8)
    frequencies[:, 1] = 127
    rng = np.random.default_rng(0)
    return table_of(
        ["a/b.png"] * len(hashes),
        sha256=rng.integers(0, 256, (len(hashes), 32)).astype(np.uint8),
        phash=np.array(hashes, dtype=np.uint64),
        frequencies=frequencies,
    )


def near_pairs(table: ImageTable, *, max_bits: int) -> Pairs:
    return find_near_duplicates(table, find_copies(table), max_bits=max_bits)


def all_with_all(table: ImageTable, max_bits: int) -> list[tuple[int, int]]:
    """Return the pairs that a double loop finds."""
    return [
        (i, j)
        for i in range(len(table))
        for j in range(i + 1, len(table))
        if (int(table.phash[i]) ^ int(table.phash[j])).bit_count() <= max_bits
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
    table = table_with(hashes)
    found = near_pairs(table, max_bits=max_bits)
    assert list(map(tuple, found.tolist())) == all_with_all(table, max_bits)


def test_frequencies_decide() -> None:
    """Of images with one hash only those of the same frequencies are near, whatever their contrast."""
    table = table_with([7, 7, 7])
    table.frequencies[1, :3] = (0, 100, 20)
    table.frequencies[2, :3] = (0, 60, 110)
    assert near_pairs(table, max_bits=0).tolist() == [[0, 1]]
    assert 100 / np.hypot(100, 20) > MIN_LIKENESS > 60 / np.hypot(60, 110)


def test_flat_images_are_like_none() -> None:
    """Two walls of one colour are no near duplicates."""
    table = table_with([0, 0, 5, 5])
    table.is_flat[:2] = True
    assert near_pairs(table, max_bits=2).tolist() == [[2, 3]]


def test_copies() -> None:
    """Each copy is paired with the first of its bytes, and is no near duplicate besides."""
    table = table_with([1, 2, 1, 1, 9 << 20])
    table.sha256[[2, 3]] = table.sha256[0]
    assert find_copies(table).tolist() == [[0, 2], [0, 3]]
    assert near_pairs(table, max_bits=2).tolist() == [[0, 1]]


def test_files_without_pixels_are_like_none() -> None:
    """Two files that could not be decoded have the same zeros for hashes, which means nothing."""
    table = concatenate(table_with([0, 0]), other_files(["a/x.png", "a/y.png"], "undecodable", reason="cut"))
    assert find_copies(table).tolist() == []
    assert near_pairs(table, max_bits=8).tolist() == [[0, 1]]


def test_digests_that_end_in_zeros() -> None:
    """A zero byte is a byte like any other."""
    table = table_with([1, 2])
    table.sha256[:] = 0
    table.sha256[0, 0] = table.sha256[1, 1] = 1
    assert not len(find_copies(table))


def test_digests_that_begin_alike() -> None:
    """All 32 bytes are compared, not only the first eight, by which they are sorted."""
    table = table_with([1, 2, 3])
    table.sha256[:, :8] = 7
    table.sha256[2] = table.sha256[0]
    assert find_copies(table).tolist() == [[0, 2]]


@pytest.mark.parametrize("max_bits", [0, 2, 8])
def test_no_images_and_one(max_bits: int) -> None:
    """There is nothing to pair."""
    for hashes in ([], [5]):
        assert near_pairs(table_with(hashes), max_bits=max_bits).shape == (0, 2)


@pytest.mark.parametrize("number", range(8))
def test_turned_images_are_found_if_asked_for(number: int) -> None:
    """All eight ways to turn and mirror an image, also after JPEG; without asking, only as it is."""
    pixels = [photograph(seed) for seed in range(3)]
    turned = np.rot90(pixels[0], number % 4)
    turned = np.ascontiguousarray(turned[:, ::-1] if number > 3 else turned)
    pixels.append(decode_whole(encode(turned, ".jpg")))
    features = measure_images(
        np.stack([shrink(each) for each in pixels]),
        [(120, 100)] * 4,
        np.zeros((4, 1, 1, 3), np.uint8),
        np.stack([count_levels(each) for each in pixels]),
    )
    columns: dict[str, Any] = {name: features[name] for name in ("phash", "is_flat", "std", "frequencies")}
    table = table_of([f"a/{i}.png" for i in range(4)], **columns)
    for is_turned in (False, True):
        pairs = find_near_duplicates(table, find_copies(table), max_bits=8, is_turned=is_turned)
        assert pairs.tolist() == ([[0, 3]] if is_turned or number == 0 else [])


def test_a_film_that_stands_still() -> None:
    """Thousands of frames that look alike are one group, and their pairs stay few."""
    pairs = near_pairs(table_with([3] * 4000), max_bits=2)
    assert len(pairs) < 4000 * 256
    assert (join_pairs(4000, pairs) == 0).all()


def test_many_images_are_compared() -> None:
    """100,000 random hashes, with 4 bits of tolerance: all pairs would be five thousand million."""
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    hashes[1::1000] = hashes[0::1000] ^ np.uint64(1 << 40 | 3)
    pairs = near_pairs(table_with(hashes.tolist()), max_bits=4)
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
