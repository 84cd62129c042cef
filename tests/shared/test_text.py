"""Text from outside is safe to print and to store."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.shared.errors import is_formula, path_for_csv, printable

anything = st.text(st.characters(codec=None))


@given(anything)
def test_one_line_of_utf8(text: str) -> None:
    """Whatever goes in, what comes out is one line that UTF-8 holds, without control characters."""
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Co", "Zl", "Zp"}


@given(anything)
def test_twice_is_once(text: str) -> None:
    """What has been made printable stays as it is, so that nobody needs to know whether it has been."""
    assert printable(printable(text)) == printable(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_ascii_stays(text: str) -> None:
    """Ordinary text is left alone, spaces, quotes, commas and backslashes included."""
    assert printable(text) == text


@pytest.mark.parametrize(
    "text", ["café", "日本語", "\u0645\u06cc\u200c\u0631\u0648\u0645", "👩\u200d🚀", "e\u0301"]
)
def test_words_of_other_scripts_stay(text: str) -> None:
    """Letters, marks and the joiners between them are text."""
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("caf\udce9", "caf\\udce9"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("\ufeffcat", "\\ufeffcat"),
        ("no\u00a0break", "no\\xa0break"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    """Line breaks, terminal codes, bytes that are not UTF-8, direction marks and odd spaces are spelt out."""
    assert printable(text) == shown


@given(anything)
def test_no_path_is_a_formula(path: str) -> None:
    """What a table has in its column of paths begins as no formula does, and leads to the same file."""
    cell = path_for_csv(path)
    assert cell.strip()[:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert cell == path_for_csv(cell)
    assert not path.isprintable() or Path(cell) == Path(path)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "@SUM(A1)", "-ve", "+ve", "-2+3", "=cmd|' /C calc'!A0", " =1", "-1e", "-inf", "--1"],
)
def test_formulas(text: str) -> None:
    """A spreadsheet computes these."""
    assert is_formula(text)


@pytest.mark.parametrize("text", ["", "a", "1", "-1", "+1", "-0.5", "-1e-05", "+", "=", "@", "+/-", "a=1"])
def test_no_formulas(text: str) -> None:
    """Numbers stay numbers, and a sign alone, as a class of handwritten signs has it, computes nothing."""
    assert not is_formula(text)
