"""The index says of every file what became of it, and survives any name; statistics are exact."""

import csv
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.shared.manifest import ImageForm, IndexRow, Status
from stages.images.image_table import ImageTable
from stages.prepare_dataset.leaks import find_leaked
from stages.prepare_dataset.prepared import list_rows, mean_and_std, write_index
from stages.prepare_dataset.split import UNUSED
from stages.shared.errors import printable
from stages.shared.files import check_file
from tests.prepare_dataset.index_rows import read_used_rows
from tests.prepare_dataset.tables import concatenate, groups_of, other_files, table_of

HEADER = "path,label,split,status,reason,group,sha256,phash,height_px,width_px,leak\n"

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
        leak=st.sampled_from(["", "copy"]),
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
        assert list(csv.reader(file))[1] == ['a "b", c.png', "é", "train", "used", "", "", "", "", "", "", ""]


def test_a_spreadsheet_runs_no_path() -> None:
    """A path that begins as a formula does has ./ before it, also as the name of a group."""
    table = table_of(["=a/1.png", "@b/2.png", "c/3.png"])
    groups = groups_of(table, [(0, 1)])
    rows = list(list_rows(table, groups, np.zeros(3, np.int8), classes=("a", "b", "c"), leaked=None))
    assert [(row.path, row.group) for row in rows] == [
        ("./=a/1.png", "./=a/1.png"),
        ("./@b/2.png", "./=a/1.png"),
        ("c/3.png", ""),
    ]


def table_of_everything() -> ImageTable:
    """Return two images that are used, one of each class, and a file for every other fate."""
    table = concatenate(
        table_of(["a/0.png", "a/1.png", "a/2.png", "b/3.png"]),
        other_files(["a/cut.png"], "undecodable", reason="ends too soon", label=0),
        other_files(["a/x.txt"], "not_an_image", reason=".txt is no image suffix", label=0),
        other_files(["top\n.png"], "outside_classes", reason="stands outside the class folders"),
    )
    return table.leave_out({1: "belongs with b/3.png"}, "leak").leave_out({2: "blank: flat"}, "audit")


def test_a_line_for_every_file() -> None:
    """In the order of the table, each with its status and reason, measured columns only for images."""
    table = table_of_everything()
    splits = np.full(len(table), UNUSED, dtype=np.int8)
    splits[[0, 5]] = 2, 0
    groups = groups_of(table, [(0, 5)])
    rows = list(list_rows(table, groups, splits, classes=("a", "b"), leaked=find_leaked(groups, splits)))
    assert [(row.path, row.label, row.split, row.status, row.reason, row.group) for row in rows] == [
        ("a/0.png", "a", "test", "used", "", "a/0.png"),
        ("a/1.png", "a", "", "leak", "belongs with b/3.png", ""),
        ("a/2.png", "a", "", "audit", "blank: flat", ""),
        ("a/cut.png", "a", "", "undecodable", "ends too soon", ""),
        ("a/x.txt", "a", "", "not_an_image", ".txt is no image suffix", ""),
        ("b/3.png", "b", "train", "used", "", "a/0.png"),
        ("top\\n.png", "", "", "outside_classes", "stands outside the class folders", ""),
    ]
    assert [row.leak for row in rows] == ["group", *[""] * 6]
    measured = [(row.sha256, row.phash, row.height_px, row.width_px) for row in rows]
    hexadecimal = table.sha256[5].tobytes().hex()
    assert measured[5] == (hexadecimal, f"{int(table.phash[5]):016x}", "100", "90")
    assert measured[3] == measured[4] == measured[6] == ("", "", "", "")


def test_lines_are_the_same_in_blocks() -> None:
    """More images than are written at once."""
    paths = [f"{'ab'[i % 2]}/{i}.png" for i in range(4100)]
    table = table_of(paths)
    splits = np.zeros(len(table), dtype=np.int8)
    rows = list(list_rows(table, groups_of(table), splits, classes=("a", "b"), leaked=None))
    assert [row.path for row in rows] == paths
    assert [row.sha256 for row in rows] == [digest.tobytes().hex() for digest in table.sha256]


def test_statistics_are_those_of_numpy() -> None:
    """From the sums of the chosen images alone, also where the sum of squares squared exceeds 64 bits."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 40, 30, 3), dtype=np.uint8)
    table = table_of(
        [f"a/{i}.png" for i in range(6)],
        sums=pixels.sum(axis=(1, 2), dtype=np.int64),
        squares=(pixels.astype(np.int64) ** 2).sum(axis=(1, 2)),
    )
    chosen = np.array([True, False, True, True, False, True])
    form = ImageForm(color="rgb", height_px=40, width_px=30, resize="squish")
    mean, std = mean_and_std(table, chosen, form)
    np.testing.assert_allclose(mean, (pixels[chosen] / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels[chosen] / 255).std(axis=(0, 1, 2)), rtol=1e-9)
    scale = 2**28  # as of images of 4096 x 4096, a million times over
    large = table.with_columns(sums=table.sums * scale, squares=table.squares * scale)
    # Sums scaled without the count: the mean scales with them, exactly.
    assert mean_and_std(large, chosen, form)[0] == tuple(value * scale for value in mean)
