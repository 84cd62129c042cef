"""What the report reads of the audit."""

import csv
from pathlib import Path
from typing import get_args

import pytest

from schemas.audit.finding import ClassKind, FindingRow, ImageKind
from stages.evaluate.audit import MAX_EXAMPLES, read_findings
from stages.evaluate.report.audit import MEANINGS
from stages.shared.errors import InputError
from stages.shared.files import write_checksum


def write(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] | None = None) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header or tuple(FindingRow.model_fields))
        writer.writerows(rows)
    write_checksum(path)
    return path


def test_kinds_are_counted_with_their_worst(tmp_path: Path) -> None:
    """Each kind says how many were found, left out and tested, and shows its first few."""
    rows = [
        ("blank", f"a/{at}.png", "a", "deviates 0.1", "used" if at % 2 else "left_out") for at in range(9)
    ]
    path = write(tmp_path / "f.csv", [*rows, ("tiny_class", "", "b\n", "3 images", "used")])
    blank, tiny = read_findings(path, tested=["a/1.png", "a/2.png", "a/3.png"])
    assert (blank.kind, blank.num_found, blank.num_left_out, blank.num_tested) == ("blank", 9, 5, 2)
    assert [row.path for row in blank.examples] == [f"a/{at}.png" for at in range(MAX_EXAMPLES)]
    assert (tiny.num_found, tiny.num_tested, tiny.examples[0].label) == (1, 0, "b\n")


def test_nothing_found_is_nothing(tmp_path: Path) -> None:
    """A table with a header alone has no kinds."""
    assert read_findings(write(tmp_path / "f.csv", []), tested=[]) == []


def test_a_table_without_its_checksum_is_refused(tmp_path: Path) -> None:
    """It may be half of what it was, and no line of it would tell."""
    path = write(tmp_path / "findings.csv", [])
    path.with_name("findings.csv.sha256").unlink()
    with pytest.raises(InputError, match=r"csv\.sha256: there is no such file; make it with: dvc repro"):
        read_findings(path, tested=[])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "no header line"),
        (b"a,b\n1,2\n", "kind: Field required|no header line"),
        (b"kind,path,label,detail,became\nodd,p,l,d,used\n", "kind"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A missing or damaged table says how to make it anew."""
    path = tmp_path / "findings.csv"
    if content is not None:
        path.write_bytes(content)
        write_checksum(path)
    with pytest.raises(InputError, match=message) as caught:
        read_findings(path, tested=[])
    assert str(caught.value).endswith("with: dvc repro prepare-dataset")
    assert "\n" not in str(caught.value)


def test_every_kind_has_a_meaning() -> None:
    """A kind added to the audit is explained in the report."""
    assert set(MEANINGS) == {*get_args(ImageKind), *get_args(ClassKind)}
