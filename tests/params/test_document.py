"""Reading YAML: DVC's values, lines, and everything that is refused."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from schemas.__main__ import format_yaml
from stages.params.document import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_LINES,
    MAX_VALUES,
    Document,
    Problem,
    format_path,
    format_problems,
    parse_yaml,
    read_document,
)
from stages.shared.errors import InputError, shorten
from tests.params.yaml_samples import DATA, YAML_LIKE, repeatable, same

ROOT = Path(__file__).parents[2]
PARAMETER_FILES = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]


def messages(document: Document) -> list[str]:
    """Return a document's problems as `line: message`."""
    return format_problems("f", document.problems).splitlines()


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.stem)
def test_parameter_files_mean_the_same_to_dvc(path: Path) -> None:
    """Every value is the same to the stages and to DVC's own function."""
    assert same(read_document(path).data, load_yaml(path))


@given(YAML_LIKE)
@repeatable(max_examples=300)
def test_accepted_text_means_the_same_to_dvc(text: str) -> None:
    """What this reader accepts, DVC's reads as the same data; and nothing raises."""
    document = parse_yaml(text)
    if not document.problems:
        assert same(YAML(typ="safe").load(text), document.data)


@given(st.text() | YAML_LIKE)
@repeatable()
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text raises anything; a refusal is one line of text and names a line that is there."""
    for problem in parse_yaml(text).problems:
        assert 1 <= problem.line <= len(text.splitlines()) + 1
        assert problem.message.isprintable()


@given(DATA)
@repeatable()
def test_written_data_is_read_back(data: Any) -> None:
    """What format_yaml writes, this reader reads as the same data."""
    document = parse_yaml(format_yaml({"key": data}))
    assert document.problems == []
    assert same(document.data, {"key": data})


# What YAML 1.2 makes of unquoted text, as DVC sees it.
MEANINGS = {
    "1e-3": 0.001, "1E3": 1000.0, ".5": 0.5, "1.": 1.0, "017": 17, "0o17": 15, "0x1F": 31, "1_000": 1000,
    "true": True, "True": True, "": None, "~": None, "null": None, "-.inf": float("-inf"),
    **{text: text for text in ("on", "off", "yes", "no", "y", "None", "none", "nan", "inf", "1:30", "1,5")},
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), MEANINGS.items(), ids=MEANINGS)
def test_meaning(text: str, value: Any) -> None:
    """Numbers are numbers, and the words of YAML 1.1 are text."""
    assert same(parse_yaml(f"key: {text}").data, {"key": value})


def test_lines_of_keys_and_items() -> None:
    """A value is found at its key or its place in a list; what is not there, at the nearest above it."""
    document = parse_yaml(
        "# comment\na: 1\nb:\n  - x\n  -\n    c:\n      3\n  - [4,\n     5]\n'd':\n\n  e: {f: 6,\n   g: 7}\n"
    )
    expected = {
        ("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 1): 6, ("b", 1, "c"): 6, ("b", 2): 8, ("b", 2, 0): 8,
        ("b", 2, 1): 9, ("d",): 10, ("d", "e"): 12, ("d", "e", "f"): 12, ("d", "e", "g"): 13,
        ("d", "e", "h"): 12, ("b", 7): 3, ("z",): 1, (): 1, ("a", "z", 0): 2,
    }  # fmt: skip
    assert {path: document.line_of(path) for path in expected} == expected


def test_renamed_keys_keep_their_lines() -> None:
    """A section under its right name is where it was under the wrong one."""
    document = parse_yaml("a: 1\nb:\n  c:\n    d: 2\n")
    document.rename(("b", "c"), ("b", "e"))
    assert document.data == {"a": 1, "b": {"e": {"d": 2}}}
    assert (document.line_of(("b", "e")), document.line_of(("b", "e", "d"))) == (3, 4)


def test_aliases_stand_for_what_they_name() -> None:
    """An alias is the value it names, at the line of its own key."""
    document = parse_yaml("a: &x {b: [1]}\nc: *x\n")
    assert document.data == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert document.line_of(("c",)) == 2


@pytest.mark.parametrize(
    "text", ["\ufeffa: 1\nb: é\n", "a: 1\r\nb: é\r\n", "---\na: 1\nb: é\n...\n", "%YAML 1.2\n---\na: 1\nb: é"]
)
def test_ordinary_files_of_other_systems(text: str) -> None:
    """A byte order mark, line ends of Windows, document marks and the directive of YAML 1.2 are all right."""
    assert parse_yaml(text).data == {"a": 1, "b": "é"}


NO_YAML = "is not valid YAML: "
INDENTATION = (
    "mapping values are not allowed here; "
    "check the indentation here, and the colon and space after the key above"
)
DEPTH = f"maximum depth of data structure exceeded ({MAX_DEPTH + 1}); write it flatter"
QUOTES = "put text that starts like this in quotes"
CLOSED = "a quote or bracket is never closed"
COLON = "could not find expected ':'; a key needs a colon and a space, as in 'lr: 0.1', and a bracket its end"
# Text, and all that is said about it.
REFUSED = {
    "": ["f:1: is empty; write it, or bring it back with git restore"],
    "# nothing\n\n": ["f:1: is empty; write it, or bring it back with git restore"],
    "a: 1\nb: 2\na: 3": ["f:3: a: is there twice, first on line 1; delete one"],
    "s:\n  a: 1\n  a: 2\n  a: 3": [
        "f:3: s.a: is there twice, first on line 2; delete one",
        "f:4: s.a: is there twice, first on line 2; delete one",
    ],
    "a: 1\n1: 2": ["f:2: found 1 where a key should be; write text, or put it in quotes"],
    "[a]: 2": ["f:1: found a list or section where a key should be; write text, or put it in quotes"],
    "x: &x {a: 1}\ny:\n  <<: *x": ["f:3: found << where a key should be; write the keys out"],
    "a: 1\n---\nb: 2": [
        f"f:2: {NO_YAML}found another document; keep one document and delete the '---' between them"
    ],
    "a: !!python/object/apply:os.system ['x']": [
        f"f:1: {NO_YAML}could not determine a constructor for the tag 'tag:yaml.o...; delete the tag"
    ],
    "a: !mine 1": [f"f:1: {NO_YAML}could not determine a constructor for the tag '!mine'; delete the tag"],
    "a: 1\nb: 2024-13-01": ["f:2: found 2024-13-01, which DVC cannot read: month must be in 1..12"],
    f"a: 1\nb: 0x{'f' * 5000}": [f"f:2: found 0x{'f' * 55}...; allowed: numbers of at most 300 digits"],
    "a: *x": [f"f:1: {NO_YAML}found undefined alias 'x'; write the value out"],
    "a: &x [*x]": [f"f:1: is nested more than {MAX_DEPTH} levels deep; write it flatter"],
    "a: 1\nb: \0": ["f:2: found the character \\x00, which no text file holds; delete it"],
    'a: "\\UFFFFFFFF"': ["f:1: DVC cannot read the line: Python int too large to convert to C int"],
    'a: "(\\d+)"': [
        f"f:1: {NO_YAML}found unknown escape character 'd'; put text that holds a backslash in single quotes"
    ],
    "a:\n\tb: 1": [
        f"f:2: {NO_YAML}found character '\\t' that cannot start any token; indent with spaces, not tabs"
    ],
    'a: 1\nb: "x\nc: 2\n': [f"f:2: {NO_YAML}found unexpected end of stream; {CLOSED}"],
    "a: {": [f"f:1: {NO_YAML}expected the node content, but found '<stream end>'; {CLOSED}"],
    "a: @x": [f"f:1: {NO_YAML}found character '@' that cannot start any token; {QUOTES}"],
    "a: 1\nlr 0.1\n\nb: 2": [f"f:2: {NO_YAML}{COLON}"],
    "lr:0.1\nb: 2": [f"f:2: {NO_YAML}{INDENTATION}"],
    "a: 1\n  b: 2": [f"f:2: {NO_YAML}{INDENTATION}"],
    "- a\nb: 1": [f"f:2: {NO_YAML}expected <block end>, but found '?'; check the indentation"],
    "a: " + "[" * 1000: [f"f:1: {NO_YAML}{DEPTH}"],
    "- " * 1000: [f"f:1: {NO_YAML}{DEPTH}"],
    "a: [" + "x," * 30_000 + "]": [f"f:1: holds more than {MAX_VALUES} values; is it the right file?"],
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=lambda value: repr(value)[:40])
def test_refused(text: str, expected: list[str]) -> None:
    """Each kind of mistake has its line."""
    assert messages(parse_yaml(text)) == expected


def test_alias_bomb_costs_nothing() -> None:
    """A few lines that stand for a billion values are refused before they are built."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    start = time.process_time()
    [message] = messages(parse_yaml("\n".join(lines)))
    assert message.endswith(f"holds more than {MAX_VALUES} values; is it the right file?")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", ["folder", "pipe", "loop", "nothing", "a\0b"])
def test_no_regular_file(name: str, tmp_path: Path) -> None:
    """A folder, a pipe nobody writes to, a link to itself and a name that no file has are refused at once."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r": there is no such file; run from the folder that holds it"):
        read_document(tmp_path / name)


def test_huge_file(tmp_path: Path) -> None:
    """A file that cannot be a parameter file is not read at all."""
    (tmp_path / "p.yaml").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match=f"has {MAX_BYTES + 1} bytes; allowed: at most {MAX_BYTES}"):
        read_document(tmp_path / "p.yaml")


def test_file_in_another_encoding(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are named with their line."""
    (tmp_path / "p.yaml").write_bytes("a: 1\nb: é\n".encode("latin-1"))
    assert messages(read_document(tmp_path / "p.yaml")) == [
        "f:2: byte 0xe9 is not UTF-8; save the file as UTF-8"
    ]


def test_lines_in_the_order_of_the_file() -> None:
    """One line each, sorted by line; the key is left out where a problem is the whole file's."""
    problems = [Problem(9, ("a", 0, "b"), "second"), Problem(2, (), "first"), Problem(9, ("c",), "third")]
    expected = "p.yaml:2: first\np.yaml:9: a.0.b: second\np.yaml:9: c: third"
    assert format_problems("p.yaml", problems) == expected


def test_no_more_lines_than_a_person_reads() -> None:
    """The rest is counted."""
    assert format_problems("p", [Problem(1, (), "x")] * MAX_LINES).splitlines() == ["p:1: x"] * MAX_LINES
    more = format_problems("p", [Problem(1, (), "x")] * (MAX_LINES + 1)).splitlines()
    assert more == [*["p:1: x"] * (MAX_LINES - 1), "p: and 2 more"]


def test_keys_are_safe_to_print() -> None:
    """A key is text from outside: no line breaks, no colours, no megabytes."""
    assert format_path(("a\n\x1b[31m", "b" * 1000)) == f"a\\n\\x1b[31m.{'b' * 37}..."
    assert shorten("\n" * 40) == ("\\n" * 40)[:57] + "..."
    assert shorten("\u202e\x00\ud800") == "\\u202e\\x00\\ud800"
