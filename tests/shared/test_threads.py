"""How threads wait for each other is set before torch is loaded, and by whoever cares first."""

import os

import pytest

from stages.shared.threads import spin_briefly


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_the_person_has_the_last_word(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set in the environment stays."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spin_briefly()
    names = {*expected, "GOMP_SPINCOUNT"} & set(os.environ)
    assert {name: os.environ[name] for name in names} == expected
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
