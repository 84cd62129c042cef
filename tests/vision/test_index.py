"""The columns of index.csv that belong to prepared images."""

from pathlib import Path

import numpy as np
import pytest

from schemas.shared.manifest import IndexRow
from stages.prepare_dataset.prepared import write_index
from stages.shared.errors import InputError
from stages.vision.dataset import number_groups, read_index_columns


def write_rows(path: Path) -> None:
    """Write an index of five images and one file that was left out."""
    names = ["a", "b", "broken", "c, d", "e", '"f"']
    write_index(
        path,
        (
            IndexRow(
                path=name,
                label="ant",
                split="" if name == "broken" else "test",
                status="undecodable" if name == "broken" else "used",
                reason="",
                group=f"group of {name}",
                sha256="",
                phash="",
                height_px=str(number),
                width_px="7",
            )
            for number, name in enumerate(names)
        ),
    )


def test_columns_of_some_rows(tmp_path: Path) -> None:
    """Rows are counted as packed: files left out have none."""
    write_rows(tmp_path / "index.csv")
    found = read_index_columns(tmp_path / "index.csv", rows=np.array([1, 2, 4]), names=["path", "height_px"])
    assert found == {"path": ["b", "c, d", '"f"'], "height_px": ["1", "3", "5"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,ant\n", "has no header line of path, label, split"),
        (",".join(IndexRow._fields) + "\na,ant\n", "cannot be read"),
        (",".join(IndexRow._fields) + "\n", "holds too few images"),
        ("", "has no header line"),
    ],
)
def test_another_index_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A file that is not such an index is refused in one line that says what to do."""
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(InputError, match=f"index.csv: {message}.*; re-create it with: dvc repro prepare"):
        read_index_columns(tmp_path / "index.csv", rows=np.array([0]), names=["path"])


def test_groups_are_numbered_from_zero() -> None:
    """Images of one group share a number; an image without a group has its own."""
    assert number_groups(["", "x", "", "y", "x", ""]).tolist() == [0, 1, 2, 3, 1, 4]
