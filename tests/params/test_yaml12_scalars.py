"""Unquoted scalars: what they mean here, and where DVC's reader departs."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from stages.params.yaml12 import parse_yaml
from stages.params.yaml12_scalars import dispute, format_yaml, resolve_plain

from tests.params.yaml_samples import TRICKY, repeatable, same

# What the core schema makes of a scalar.
NUMBERS = {
    "1e-3": 0.001, "1E3": 1000.0, "1e5": 100_000.0, "1e-05": 1e-05, "1.": 1.0, ".5": 0.5, "-.5": -0.5,
    "+1.5e+2": 150.0, "0.0": 0.0, "-0.0": -0.0, "5.e3": 5000.0, "1e999": float("inf"), ".inf": float("inf"),
    "-.inf": float("-inf"), "+.INF": float("inf"), ".nan": float("nan"), ".NaN": float("nan"),
    "0": 0, "-0": 0, "+7": 7, "-12": -12, "017": 17, "08": 8, "0o17": 15, "0x1F": 31, "0xff": 255,
    "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63),
}  # fmt: skip
WORDS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
}  # fmt: skip
TEXTS = [
    "on", "off", "yes", "no", "On", "YES", "y", "n", "tRUE", "nULL", "None", "nan", "inf", "Infinity",
    "1:30", "190:20:30", "2024-01-01", "2001-12-14t21:59:43.10-05:00", "1_000", "0b11", "-0x1F", "-0o17",
    "0O17", "0X1F", "0o8", ".", "-", "+", "e3", "1e", ".e3", "-.nan", "1.2.3", "1 000", "1,5", "²",
    "\N{ARABIC-INDIC DIGIT ONE}",
]  # fmt: skip
MEANINGS: dict[str, Any] = {**NUMBERS, **WORDS, **{text: text for text in TEXTS}}


@pytest.mark.parametrize(("text", "value"), MEANINGS.items(), ids=MEANINGS)
def test_meaning(text: str, value: Any) -> None:
    """A scalar means what the core schema of YAML 1.2 says."""
    assert same(resolve_plain(text), value)


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "-9223372036854775809", "9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 30]
)
def test_numbers_beyond_64_bits(text: str) -> None:
    """A whole number that no other program could hold is an overflow, however long it is."""
    with pytest.raises(OverflowError):
        resolve_plain(text)


@given(TRICKY | st.sampled_from(list(MEANINGS)))
@example("2001-1-1 1:00:00")
@example("=")
@repeatable(max_examples=500)
def test_dvc_reads_the_same_or_is_known_not_to(text: str) -> None:
    """Every unquoted scalar is the same value to DVC's reader, or disputed, or refused by it."""
    document = parse_yaml(f"key: {text}")
    if document.problems or document.disputed:
        return
    try:
        theirs = YAML(typ="safe", pure=True).load(f"key: {text}")
    except Exception:  # a refusal, of whatever kind, stops DVC
        return
    assert same(theirs, document.data)


@pytest.mark.parametrize(("text", "dvc", "advice"), [
    ("1_000", 1000, "a number to DVC; put it in quotes"),
    ("0b11", 3, "a number to DVC; put it in quotes"),
    ("-0x1F", -31, "a number to DVC; put it in quotes"),
    ("1_0.5", 10.5, "a number to DVC; put it in quotes"),
    (".5e3", ".5e3", "a number in YAML 1.2 but text to DVC; write 500.0"),
])  # fmt: skip
def test_disputes_are_real(text: str, dvc: Any, advice: str) -> None:
    """What is called disputed, DVC's reader does read as something else."""
    assert same(YAML(typ="safe", pure=True).load(text), dvc)
    assert advice in str(dispute(text, resolve_plain(text)))


def test_dates_are_disputed() -> None:
    """DVC's reader makes a date of what is text here."""
    assert not isinstance(YAML(typ="safe", pure=True).load("2024-01-01"), str)
    assert (
        dispute("2024-01-01", "2024-01-01")
        == "found 2024-01-01, text in YAML 1.2 but a date to DVC; put it in quotes"
    )


def test_layout() -> None:
    """Sections are blocks; plain lists and the arguments of a transform stand on one line."""
    data = {
        "transforms": [{"RandomCrop": {"padding": 2}}, "ToTensor"],
        "optimizer": {"adam": {"betas": [0.9, 1e-05]}},
    }
    assert format_yaml(data) == (
        "transforms:\n  - RandomCrop: {padding: 2}\n  - ToTensor\n"
        "optimizer:\n  adam:\n    betas: [0.9, 1.0e-05]\n"
    )
