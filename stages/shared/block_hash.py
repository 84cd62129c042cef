"""The SHA-256 of a large file, by blocks: where it changed in places, only those are read again.

It is the SHA-256 of the SHA-256 of each 65,536 bytes of the file, the last block as short as it is (a Merkle
tree of two levels).
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

BLOCK_BYTES = 2**16
"""An image of 224 px spans three blocks; hashing blocks costs no more than hashing the whole."""

_DIGEST_BYTES = 32
_BLOCKS_AT_ONCE = 16


class BlockHash:
    """Hashes the blocks of a file while it is written."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._block = hashlib.sha256()
        self._room = BLOCK_BYTES

    def update(self, data: bytes | memoryview) -> None:
        """Add what comes next."""
        view = memoryview(data).cast("B")
        while len(view):
            part = view[: self._room]
            self._block.update(part)
            self._room -= len(part)
            if not self._room:
                self._digests += self._block.digest()
                self._block, self._room = hashlib.sha256(), BLOCK_BYTES
            view = view[len(part) :]

    def digests(self) -> bytes:
        """Return the SHA-256 of each block so far, one after the other."""
        is_begun = self._room < BLOCK_BYTES
        return bytes(self._digests) + (self._block.digest() if is_begun else b"")


def hash_blocks(path: Path) -> bytes:
    """Return the SHA-256 of each block of a file, one after the other."""
    blocks = BlockHash()
    room = memoryview(bytearray(_BLOCKS_AT_ONCE * BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while num_bytes := file.readinto(room):
            blocks.update(room[:num_bytes])
    return blocks.digests()


def hash_again(path: Path, digests: bytes, changed: Iterable[int]) -> bytes:
    """Return the SHA-256 of each block of a file that is as long as before.

    Args:
        path: The file.
        digests: What `hash_blocks` returned before some blocks changed.
        changed: The numbers of those.
    """
    renewed = bytearray(digests)
    with path.open("rb") as file:
        for number in changed:
            file.seek(number * BLOCK_BYTES)
            place = number * _DIGEST_BYTES
            renewed[place : place + _DIGEST_BYTES] = hashlib.sha256(file.read(BLOCK_BYTES)).digest()
    return bytes(renewed)


def join_blocks(digests: bytes) -> str:
    """Return the hash of the whole file as 64 hexadecimal digits."""
    return hashlib.sha256(digests).hexdigest()
