"""Reading YAML: values, lines, and everything that is refused."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from stages.params.problems import format_problems
from stages.params.yaml12 import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse_yaml, read_document, read_yaml
from stages.params.yaml12_document import Document
from stages.params.yaml12_scalars import format_yaml

from stages.shared.errors import InputError
from tests.params.yaml_samples import DATA, YAML_LIKE, repeatable, same

ROOT = Path(__file__).parents[2]


def read_text(text: str) -> Any:
    """Return the data of a text that has no problem."""
    document = parse_yaml(text)
    assert document.problems == []
    return document.data


def refusal(read: Callable[[str | Path], object], path: str | Path) -> str:
    """Return what a reader says against a file, or nothing."""
    try:
        read(path)
    except InputError as error:
        return str(error)
    return ""


def messages(document: Document) -> list[str]:
    """Return a document's problems as `line: message`."""
    return format_problems("f", document.problems).splitlines()


@given(DATA)
@example({"\x85": "\u2028", "_": "1_0"})
@repeatable()
def test_written_data_is_read_back(data: Any) -> None:
    """What format_yaml writes, this reader reads as the same data, with nothing for DVC to dispute."""
    document = parse_yaml(format_yaml(data))
    assert document.problems == document.disputed == []
    assert same(document.data, data)


@given(DATA)
@example({"\x85": "\u2028", "_": "1_0"})
@repeatable()
def test_written_data_is_read_alike_by_dvc(data: Any) -> None:
    """What format_yaml writes, DVC's reader reads as the same data."""
    assert same(YAML(typ="safe", pure=True).load(format_yaml(data)), data)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text("abc \"'\\:#", max_size=8), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
@repeatable()
def test_json_is_yaml(data: Any) -> None:
    """JSON, as Python writes it, reads as the same data."""
    assert same(read_text(json.dumps(data, ensure_ascii=False)), data)


@given(st.text() | YAML_LIKE)
@repeatable()
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text whatever raises anything; a refusal names a line that is there."""
    document = parse_yaml(text)
    assert (document.root is None) <= bool(document.problems)
    for problem in document.problems:
        assert 1 <= problem.line <= text.count("\n") + text.count("\r") + 1
        assert "\n" not in problem.message


@given(st.binary() | YAML_LIKE.map(str.encode))
@repeatable()
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No file whatever raises anything but InputError, and that in whole lines that name the file."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(data)
        lines = refusal(read_yaml, file.name).splitlines()
        assert all(line.startswith(f"{file.name}:") for line in lines)


@given(YAML_LIKE)
@repeatable(max_examples=300)
def test_accepted_text_means_the_same_to_dvc(text: str) -> None:
    """Where this reader has nothing to object to, DVC's reader finds the same data, or refuses it loudly."""
    document = parse_yaml(text)
    if document.problems or document.disputed:
        return
    try:
        theirs = YAML(typ="safe", pure=True).load(text)
    except Exception:  # a refusal, of whatever kind, stops DVC
        return
    assert same(theirs, document.data)


def test_the_parameter_file_means_the_same_to_dvc() -> None:
    """Every value of params.yaml is the same to the stages and to DVC."""
    theirs = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    assert same(read_yaml(ROOT / "params.yaml").data, theirs)


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


def test_blocks_of_text() -> None:
    """Literal and folded blocks are read, and disputed: DVC's reader takes a comment below one for text."""
    document = parse_yaml("a: |\n  x\n  y\nb: >-\n  x\n  y\n")
    assert document.data == {"a": "x\ny\n", "b": "x y"}
    assert [problem.path for problem in document.disputed] == [("a",), ("b",)]
    assert YAML(typ="safe", pure=True).load("|\n#") != parse_yaml("|\n#").data


def test_keys_without_a_value_in_braces() -> None:
    """A colon that touches a brace ends the key here, and is part of it for DVC's reader: it is disputed."""
    assert [problem.path for problem in parse_yaml("x: {a:}").disputed] == [("x", "a")]
    assert YAML(typ="safe", pure=True).load("x: {a:}") == {"x": {"a:": None}}
    assert parse_yaml("x: {a: 1}\nb:").disputed == []


def test_aliases_are_copies() -> None:
    """An alias stands for the value it names, at the line of its own key."""
    document = parse_yaml("a: &x {b: [1]}\nc: *x\n")
    assert document.data == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert (document.line_of(("c",)), document.line_of(("c", "b"))) == (2, 1)
    document.move(("c", "b"), ("c", "d"))
    assert document.data == {"a": {"b": [1]}, "c": {"d": [1]}}


@pytest.mark.parametrize(
    "text", ["\ufeffa: 1\nb: é\n", "a: 1\r\nb: é\r\n", "---\na: 1\nb: é\n...\n", "%YAML 1.2\n---\na: 1\nb: é"]
)
def test_ordinary_files_of_other_systems(text: str) -> None:
    """A byte order mark, line ends of Windows, document marks and the directive of YAML 1.2 are all right."""
    document = parse_yaml(text)
    assert document.problems == []
    assert document.data == {"a": 1, "b": "é"}


# Text, and all that is said about it.
REFUSED = {
    "": ["f:1: is empty; write it, or bring it back with git restore"],
    "# nothing\n\n": ["f:1: is empty; write it, or bring it back with git restore"],
    "a: 1\nb: 2\na: 3": ["f:3: a: is there twice, first on line 1; delete one"],
    "s:\n  a: 1\n  a: 2\n  a: 3": [
        "f:3: s.a: is there twice, first on line 2; delete one",
        "f:4: s.a: is there twice, first on line 2; delete one",
    ],
    "a: 1\n1: 2": ["f:2: found 1 where a key should be; put it in quotes, or delete it"],
    "true: 2": ["f:1: found true where a key should be; put it in quotes, or delete it"],
    "~: 2": ["f:1: found nothing where a key should be; put it in quotes, or delete it"],
    "[a]: 2": ["f:1: found a list or mapping where a key should be; put it in quotes, or delete it"],
    "{a: 1}: 2": ["f:1: found a list or mapping where a key should be; put it in quotes, or delete it"],
    "a: 1\n---\nb: 2": ["f:2: a second document begins here; keep one and delete its '---'"],
    "a: !!python/object/apply:os.system ['x']": [
        "f:1: a: found the tag !!python/object/apply:os.system; tags are not read, delete it"
    ],
    "a: !!str 1": ["f:1: a: found the tag !!str; tags are not read, delete it"],
    "a: ! 1": ["f:1: a: found the tag !; tags are not read, delete it"],
    "x: &x {a: 1}\ny:\n  <<: *x": ["f:3: y: merge keys (<<) are not read; write the keys out"],
    "a: &x [*x]": ["f:1: a.0: *x is inside the value it names; write it out"],
    "a: &x:y 1": ["f:1: a: a space has to follow &x"],
    "a: *x": ["f:1: a: *x names no anchor above it; write the value out"],
    "%YAML 1.1\n---\na: on": ["f:1: directives such as %YAML and %TAG are not read; delete the line"],
    "%TAG ! tag:x,2000:\n---\na: 1": ["f:1: directives such as %YAML and %TAG are not read; delete the line"],
    "a: 99999999999999999999": ["f:1: a: found 99999999999999999999; a whole number has to fit in 64 bits"],
    f"a: {'9' * 5000}": [f"f:1: a: found {'9' * 57}...; a whole number has to fit in 64 bits"],
    "a: 0xFFFFFFFFFFFFFFFF": ["f:1: a: found 0xFFFFFFFFFFFFFFFF; a whole number has to fit in 64 bits"],
    "a: 1\nb: \0": ["f:2: found the character \\x00, which no text file holds; delete it"],
    "a: \x85": ["f:1: found the character \\x85, which no text file holds; delete it"],
    'a: "\\0"': ["f:1: a: found \\x00; text cannot hold \\0 or half a surrogate pair"],
    'a: "\\ud800"': ["f:1: a: found \\ud800; text cannot hold \\0 or half a surrogate pair"],
    'a: "\\UFFFFFFFF"': ["f:1: an escape such as \\U names no character"],
    'a: "\\q"': ["f:1: in double quotes \\ begins an escape, and this is none; use single quotes"],
    'a: "\\xZZ"': ["f:1: in double quotes \\ begins an escape, and this is none; use single quotes"],
    "a:\n\tb: 1": ["f:2: found a tab; YAML indents and separates with spaces"],
    "a:\t1": ["f:1: found a tab; YAML indents and separates with spaces"],
    "a: 1\nb: \"x": ["f:2: the quote here is never closed"],
    "a: {b: 1\nc: 2": ["f:1: the { here is never closed, or a comma is missing"],
    "a: [1, 2\nb: 3": ["f:1: the [ here is never closed, or a comma is missing"],
    "a: {": ["f:1: the file ends where a value should be"],
    "a: @x": ["f:1: text that starts with @ goes in quotes"],
    "a: %x": ["f:1: text that starts with % goes in quotes"],
    "a: 1\nlr 0.1 # no colon\n\nb: 2": ["f:2: a key needs a colon and a space behind it, as in 'lr: 0.1'"],
    "lr:0.1\nb: 2": ["f:1: a key needs a colon and a space behind it, as in 'lr: 0.1'"],
    "a: 1\nlr 0.1": ["f:2: a key needs a colon and a space behind it, as in 'lr: 0.1'"],
    "a: b: c": ["f:1: unexpected ': '; check the indentation, and put text that holds ': ' in quotes"],
    "a: 1\n  b: 2": ["f:2: unexpected ': '; check the indentation, and put text that holds ': ' in quotes"],
    "  a: 1\nb: 2": ["f:2: does not fit the lines above; check the indentation and the quotes"],
    "- a\nb: 1": ["f:2: does not fit the lines above; check the indentation and the quotes"],
    "a: - b": ["f:1: unexpected '- '; a list begins on a line of its own"],
    "a: }": ["f:1: is no YAML: expected the node content, but found '}'"],
    "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x": [
        "f:2: git left a merge conflict here; keep one side and delete the marks"
    ],
    "a: " + "[" * 1000: [f"f:1: is nested more than {MAX_DEPTH} levels deep; write it flatter"],
    "- " * 1000: [f"f:1: is nested more than {MAX_DEPTH} levels deep; write it flatter"],
    "a: [" + "x," * 30_000 + "]": [f"f:1: holds more than {MAX_VALUES} values; is it the right file?"],
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=lambda value: repr(value)[:40])
def test_refused(text: str, expected: list[str]) -> None:
    """Each kind of mistake has its line."""
    assert messages(parse_yaml(text)) == expected


def test_all_problems_at_once() -> None:
    """Reading goes on after a mistake that leaves the rest readable."""
    document = parse_yaml("a: !!int 1\n2: b\nc: 99999999999999999999\nc: 1\nd: fine")
    assert [problem.line for problem in document.problems] == [1, 2, 3, 4]
    assert document.data == {"a": 1, "c": None, "d": "fine"}


def test_alias_bomb_costs_nothing() -> None:
    """A few lines that stand for a billion values are refused as they grow."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    start = time.perf_counter()
    assert messages(parse_yaml("\n".join(lines))) == [
        f"f:5: holds more than {MAX_VALUES} values; is it the right file?"
    ]
    assert time.perf_counter() - start < 5


def test_aliases_cannot_nest_without_end() -> None:
    """Depth counts through aliases, so nothing that walks the data runs out of stack."""
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100))]
    assert messages(parse_yaml("\n".join(lines)))[0].endswith("levels deep; write it flatter")


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there says so, and where to run."""
    assert (
        refusal(read_document, tmp_path / "p.yaml")
        == f"{tmp_path}/p.yaml: does not exist; run from the folder that holds it, or give its path"
    )


def test_folder(tmp_path: Path) -> None:
    """A folder is no file."""
    assert refusal(read_document, tmp_path) == f"{tmp_path}: is a folder; give the path of a file"


def test_pipe(tmp_path: Path) -> None:
    """A pipe nobody writes to does not hang the check."""
    os.mkfifo(tmp_path / "pipe")
    assert (
        refusal(read_document, tmp_path / "pipe")
        == f"{tmp_path}/pipe: is not a regular file; give the path of a file"
    )


def test_link_to_itself(tmp_path: Path) -> None:
    """A link that leads nowhere is an error of the system, in one line."""
    (tmp_path / "loop").symlink_to("loop")
    assert (
        refusal(read_document, tmp_path / "loop")
        == f"{tmp_path}/loop: cannot be read: Too many levels of symbolic links"
    )


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says about permissions is passed on."""
    (tmp_path / "p.yaml").write_text("a: 1")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert (
        refusal(read_document, tmp_path / "p.yaml") == f"{tmp_path}/p.yaml: cannot be read: Permission denied"
    )


def test_huge_file(tmp_path: Path) -> None:
    """A file that cannot be a parameter file is not read at all."""
    (tmp_path / "p.yaml").write_text("#" * (MAX_BYTES + 1))
    assert refusal(read_document, tmp_path / "p.yaml").startswith(
        f"{tmp_path}/p.yaml: has {MAX_BYTES + 1} bytes; allowed: at most"
    )


def test_path_that_no_system_has() -> None:
    """A NUL in a path is refused in one line, escaped."""
    assert refusal(read_document, "a\0b") == "a\\x00b: cannot be read: embedded null byte"


def test_file_in_another_encoding(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are named with their line."""
    (tmp_path / "p.yaml").write_bytes("a: 1\nb: é\n".encode("latin-1"))
    assert messages(read_document(tmp_path / "p.yaml")) == [
        "f:2: byte 0xe9 is not UTF-8; save the file as UTF-8"
    ]


def test_pyyaml_alone_would_not_do() -> None:
    """The traps this reader is for: PyYAML takes 1e-3 for text and on for true."""
    assert yaml.safe_load("{a: 1e-3, b: on, c: 1:30, d: 017}") == {"a": "1e-3", "b": True, "c": 90, "d": 15}
    assert read_text("{a: 1e-3, b: on, c: 1:30, d: 017}") == {"a": 0.001, "b": "on", "c": "1:30", "d": 17}
