"""The index of images survives any name."""

import csv
import tempfile
from pathlib import Path
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from schemas.shared.index import IndexRow, Status
from stages.shared.files import check_file
from stages.shared.index import write_index
from stages.shared.text import printable
from tests.prepare_dataset.index_rows import read_used_rows

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
