"""The table of images keeps every column, on disk and when rows are taken."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.images.image_table import TABLE_NAME, make_table, read_table, write_table
from stages.shared.errors import InputError

_TEXT = st.text(max_size=8) | st.just("caf\udce9.png")


@given(paths=st.lists(_TEXT, max_size=12), seed=st.integers(0, 99))
def test_what_is_written_is_read(
    paths: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every column comes back, also names that are not UTF-8."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(seed)
    table = make_table(
        len(paths),
        path=np.array([*paths, None], dtype=object)[:-1],
        phash=rng.integers(0, 2**64, len(paths), dtype=np.uint64),
        sums=rng.integers(0, 2**40, (len(paths), 3)),
    )
    write_table(folder, table)
    found = read_table(folder / TABLE_NAME)
    for field in fields(table):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(table, field.name), strict=True)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    """DVC knows an unchanged table by its hash."""
    table = make_table(3, path=np.array(["a", "b", "c"], dtype=object))
    assert write_table(tmp_path, table).sha256 == write_table(tmp_path, table).sha256


def test_others_may_read_the_table(tmp_path: Path) -> None:
    """As they may the shards beside it: a cache may be shared."""
    folder = tmp_path / "images"
    folder.mkdir()
    write_table(folder, make_table(0))
    np.save(folder / "shard.npy", np.zeros(1))
    assert (folder / TABLE_NAME).stat().st_mode == (folder / "shard.npy").stat().st_mode


def test_rows_are_taken_from_every_column() -> None:
    """By number or by mask."""
    table = make_table(3, path=np.array(["a", "b", "c"], dtype=object), row=np.array([5, 6, 7]))
    assert table.take(np.array([2, 0])).path.tolist() == ["c", "a"]
    assert table.take(np.array([False, True, False])).row.tolist() == [6]


def test_another_file_is_refused(tmp_path: Path) -> None:
    """One line, not a traceback."""
    (tmp_path / TABLE_NAME).write_bytes(b"no table at all")
    with pytest.raises(InputError, match="is no table of images"):
        read_table(tmp_path / TABLE_NAME)
