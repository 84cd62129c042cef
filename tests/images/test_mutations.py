"""Files that were changed at random: none ends the process, takes long, or comes out half gray.

DARKROOM_MUTATIONS sets how many there are; 200,000 take some minutes.
"""

import os

import numpy as np
import pytest

from stages.images.resize import Pixels
from tests.images.decode_child import MAX_SECONDS, Outcome, decode_apart
from tests.images.samples import save, scene, whole_files
from tests.images.trees import decode_whole, form

NUM_MUTATIONS = int(os.environ.get("DARKROOM_MUTATIONS", "2000"))
NUM_AT_ONCE = 4000
MAX_BYTES = 512 * 2**20
WHOLE = whole_files() | {
    # Large enough to be decoded at reduced size.
    "jpeg large": save(scene(300, 400), "JPEG"),
    "jpeg large progressive": save(scene(300, 400), "JPEG", progressive=True),
}
KINDS = list(WHOLE)
CUT_SHORT = 0.4  # of all changes strike the first bytes, where a small one does most
NUMBERS = (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate(data: bytes, seed: int) -> bytes:
    """Return a file with one to four random changes."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = int(rng.integers(min(len(changed), 64 if rng.random() < CUT_SHORT else len(changed))))
        length = int(rng.integers(1, 200))
        match int(rng.integers(8)):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place] = int(rng.integers(256))
            case 2:
                del changed[place:]
            case 3:
                changed[place:place] = rng.bytes(length)
            case 4:
                changed[place : place + length] = bytes(len(changed[place : place + length]))
            case 5:
                other = int(rng.integers(len(changed)))
                changed[place : place + length] = changed[other : other + length]
            case 6:
                del changed[place : place + length]
            case _:
                number = int(rng.choice(NUMBERS))
                changed[place : place + 4] = number.to_bytes(4, rng.choice(["big", "little"]))
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Return what became of each file; half of them are decoded at reduced size where that is possible."""
    found: list[Outcome] = []
    for start in range(0, NUM_MUTATIONS, NUM_AT_ONCE):
        seeds = range(start, min(start + NUM_AT_ONCE, NUM_MUTATIONS))
        files = [mutate(WHOLE[KINDS[seed % len(KINDS)]], seed) for seed in seeds]
        half = len(files) // 2
        found += decode_apart(files[:half])  # a crash fails here, and names the file
        found += decode_apart(files[half:], form(height_px=8, width_px=8))
    return found


def test_every_refusal_has_a_reason(outcomes: list[Outcome]) -> None:
    """A file has pixels, or one printable line that says why not."""
    assert len(outcomes) == NUM_MUTATIONS
    for outcome in outcomes:
        assert (outcome.pixels is None) == bool(outcome.reason)
        assert outcome.reason.isprintable()


def test_most_damage_is_seen(outcomes: list[Outcome]) -> None:
    """Most changed files are refused: of PNG nearly all; of formats without a checksum what can be known."""
    refused = {
        kind: [outcome.pixels is None for outcome in outcomes[i :: len(KINDS)]]
        for i, kind in enumerate(KINDS)
    }
    pngs = [seen for kind in KINDS if kind.startswith("png") for seen in refused[kind]]
    assert np.mean(pngs) > 0.97
    assert np.mean([seen for some in refused.values() for seen in some]) > 0.65


def test_bounds(outcomes: list[Outcome]) -> None:
    """None takes 5 s, and no worker 512 MB more than it has to begin with."""
    assert max(outcome.seconds for outcome in outcomes) < MAX_SECONDS
    assert max(outcome.peak_bytes for outcome in outcomes) - outcomes[0].peak_bytes < MAX_BYTES


def is_half_gray(pixels: Pixels) -> bool:
    """Return whether the lower half is of one colour that is neither black nor white."""
    lower = pixels[len(pixels) // 2 :].reshape(-1, 3)
    return bool(np.ptp(lower, axis=0).max() <= 2 and 8 < lower.mean() < 247)


def test_no_half_pictures(outcomes: list[Outcome]) -> None:
    """No changed JPEG comes out with its lower half flat gray, which decoders put where nothing came."""
    assert not is_half_gray(decode_whole(WHOLE["jpeg"]))
    for seed, outcome in enumerate(outcomes):
        kind = KINDS[seed % len(KINDS)]
        if kind.startswith("jpeg") and not kind.startswith("jpeg 2000") and outcome.pixels is not None:
            assert not is_half_gray(outcome.pixels), (kind, seed)
