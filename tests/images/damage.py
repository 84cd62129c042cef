"""Damage as disks, downloads and failing memory do it, anywhere in a file."""

import numpy as np

WAYS = ("flip", "cut", "zero", "overwrite")


def damage(data: bytes, seed: int) -> bytes:
    """Return a file with one to four flipped bits, without its end, or with a range of null bytes or noise.

    A range has at most 200 bytes and an eighth of the file.
    """
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    place = int(rng.integers(len(data)))
    end = min(len(data), place + int(rng.integers(1, max(2, min(200, len(data) // 8)))))
    match WAYS[int(rng.integers(len(WAYS)))]:
        case "flip":
            for _ in range(int(rng.choice([1, 1, 2, 4]))):
                damaged[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        case "cut":
            del damaged[place:]
        case "zero":
            damaged[place:end] = bytes(end - place)
        case _:
            damaged[place:end] = rng.bytes(end - place)
    return bytes(damaged)
