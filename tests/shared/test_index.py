"""The index of images survives any name, and a damaged one is refused."""

import csv
import tempfile
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.shared.index import IndexRow, Status
from stages.shared.errors import InputError
from stages.shared.files import check_file
from stages.shared.index import read_used_rows, write_index
from stages.shared.text import printable

HEADER = "path,label,split,status,reason,group,sha256,phash,height_px,width_px\n"

name = st.text(st.characters(codec=None)).map(printable)
hostile = name | st.sampled_from(['"', ",", '",\n"', "'", "=1+1", " ", "\\", "", "caf\udce9"]).map(printable)
rows = st.lists(
    st.builds(
        IndexRow,
        path=hostile,
        label=hostile,
        split=st.sampled_from(["train", "val", "test", ""]),
        status=st.sampled_from(get_args(Status)),
        reason=hostile,
        group=hostile,
        sha256=st.sampled_from(["", "0123456789abcdef" * 4]),
        phash=st.sampled_from(["", "0123456789abcdef"]),
        height_px=st.sampled_from(["", "375"]),
        width_px=st.sampled_from(["", "500"]),
    )
)


def used(path: str, label: str = "cat") -> IndexRow:
    return IndexRow(
        path=path,
        label=label,
        split="train",
        status="used",
        reason="",
        group="",
        sha256="",
        phash="",
        height_px="",
        width_px="",
    )


@given(rows)
def test_round_trip(rows: list[IndexRow]) -> None:
    """The used lines come back as they were, in order, whatever the names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.csv"
        check_file(Path(folder), write_index(path, rows), made_by="")
        assert read_used_rows(path) == [row for row in rows if row.status == "used"]


@given(rows)
def test_one_line_a_row(rows: list[IndexRow]) -> None:
    """Every file is one line of text, so that grep and diff are of use."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.csv"
        write_index(path, rows)
        text = path.read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1 + len(rows)


def test_other_programs_read_it(tmp_path: Path) -> None:
    """It is ordinary CSV."""
    write_index(tmp_path / "index.csv", [used('a "b", c.png', "é")])
    with (tmp_path / "index.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == ['a "b", c.png', "é", "train", "used", "", "", "", "", "", ""]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "cannot be read"),
        (b"", "has no header line"),
        (b"a,b\n", "has no header line"),
        (b"cat/1.png,cat,train,used,,,,\n", "has no header line"),
        (HEADER.encode() + b"cat/1.png,cat,train,lost,,,,,,\n", "status: Input should be"),
        (HEADER.encode() + b"cat/1.png,cat,train,used,,,abc,,,\n", "sha256: String should match"),
        (HEADER.encode() + b"cat/1.png,cat\n", "Input should be"),
        (HEADER.encode() + b"cat/1.png,cat,train,used,,,,,,,more\n", "Keys should be strings"),
        (HEADER.encode() + b"caf\xe9.png,cat,train,used,,,,\n", "cannot be read"),
        (HEADER.encode() + b"x" * 200_000 + b",cat,train,used,,,,\n", "cannot be read"),
    ],
)
def test_damaged_index(data: bytes | None, problem: str, tmp_path: Path) -> None:
    """A file that is no such index is refused in one line, with the command that makes it anew."""
    path = tmp_path / "index.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_used_rows(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert message.endswith("make it anew with: dvc repro prepare-dataset")
