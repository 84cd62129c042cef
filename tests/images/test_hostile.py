"""Damaged files are refused with a reason, odd ones are taken, and none takes the process with it."""

import re

import numpy as np
import pytest

from tests.images.decode_child import MAX_SECONDS, Outcome, decode_apart
from tests.images.hostile import hostile_files
from tests.images.samples import whole_files
from tests.images.trees import decode_whole

WHOLE = whole_files()
CASES = hostile_files()
MAX_BYTES = 512 * 2**20


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return dict(zip(CASES, decode_apart([case.data for case in CASES.values()]), strict=True))


def test_there_are_many() -> None:
    """Every format has its damaged and its odd files."""
    assert len(CASES) >= 120


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reason])
def test_damaged(name: str, outcomes: dict[str, Outcome]) -> None:
    """The file is refused, and what is said of it is true, on one line."""
    reason = outcomes[name].reason
    assert outcomes[name].pixels is None
    assert re.search(CASES[name].reason, reason), reason
    assert reason.isprintable()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.like])
def test_odd(name: str, outcomes: dict[str, Outcome]) -> None:
    """The file is taken, and shows what the one shows that it was made of."""
    pixels = outcomes[name].pixels
    assert pixels is not None, outcomes[name].reason
    np.testing.assert_array_equal(pixels, decode_whole(WHOLE[CASES[name].like]))


def test_bounds(outcomes: dict[str, Outcome]) -> None:
    """None takes long, and all together less memory than a worker may take."""
    assert max(outcome.seconds for outcome in outcomes.values()) < MAX_SECONDS
    peaks = [outcome.peak_bytes for outcome in outcomes.values()]
    assert peaks[-1] - peaks[0] < MAX_BYTES


def test_whole_files_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Decoders write no line of their own to standard error for whole images, colour profiles included."""
    for data in WHOLE.values():
        decode_whole(data)
    assert capfd.readouterr().err == ""
