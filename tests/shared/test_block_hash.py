"""The hash by blocks is that of the file, however it was written and wherever it changed."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.shared.block_hash import BLOCK_BYTES, BlockHash, hash_again, hash_blocks, join_blocks


def noise(num_bytes: int) -> bytes:
    return np.random.default_rng(num_bytes).bytes(num_bytes)


@pytest.mark.parametrize("num_bytes", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 40 * BLOCK_BYTES])
def test_by_its_definition(num_bytes: int, tmp_path: Path) -> None:
    """SHA-256 of the SHA-256 of each 65,536 bytes."""
    data = noise(num_bytes)
    (tmp_path / "file").write_bytes(data)
    blocks = [data[start : start + 65536] for start in range(0, num_bytes, 65536)]
    digests = b"".join(hashlib.sha256(block).digest() for block in blocks)
    assert hash_blocks(tmp_path / "file") == digests
    assert join_blocks(digests) == hashlib.sha256(digests).hexdigest()


@given(st.lists(st.integers(0, 3 * BLOCK_BYTES), max_size=5))
def test_in_any_pieces(lengths: list[int]) -> None:
    """It does not matter in which pieces the bytes come."""
    data = noise(sum(lengths))
    whole, pieces = BlockHash(), BlockHash()
    whole.update(data)
    start = 0
    for length in lengths:
        pieces.update(data[start : start + length])
        start += length
    assert pieces.digests() == whole.digests()


@given(st.integers(1, 4 * BLOCK_BYTES), st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
def test_after_changes(num_bytes: int, places: list[int]) -> None:
    """Reading the changed blocks again gives what reading all gives, and another hash than before."""
    data = bytearray(noise(num_bytes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        before = hash_blocks(path)
        changed = {place % num_bytes for place in places}
        for place in changed:
            data[place] ^= 1
        path.write_bytes(data)
        after = hash_again(path, before, {place // BLOCK_BYTES for place in changed})
        assert after == hash_blocks(path)
    assert join_blocks(after) != join_blocks(before)
