"""What prepare-dataset says about the test images: its audit's findings."""

import csv
from pathlib import Path
from typing import get_args

import pytest

from schemas.audit.finding import ClassKind, FindingRow, ImageKind, LeakKind
from stages.evaluate.loading import MAX_EXAMPLES, read_findings
from stages.pages.wording import FINDING_MEANINGS
from stages.shared.errors import InputError
from stages.shared.files import write_checksum


def write_findings(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] | None = None) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header or tuple(FindingRow.model_fields))
        writer.writerows(rows)
    write_checksum(path)
    return path


def test_findings_are_counted_by_kind(tmp_path: Path) -> None:
    """Each kind says how many were found, left out and tested, and shows its first few."""
    rows = [
        ("blank", f"a/{at}.png", "a", "deviates 0.1", "used" if at % 2 else "left_out") for at in range(9)
    ]
    path = write_findings(tmp_path / "f.csv", [*rows, ("tiny_class", "", "b\n", "3 images", "used")])
    blank, tiny = read_findings(path, tested=["a/1.png", "a/2.png", "a/3.png"])
    assert (blank.kind, blank.num_found, blank.num_left_out, blank.num_tested) == ("blank", 9, 5, 2)
    assert [row.path for row in blank.examples] == [f"a/{at}.png" for at in range(MAX_EXAMPLES)]
    assert (tiny.num_found, tiny.num_tested, tiny.examples[0].label) == (1, 0, "b\n")


def test_no_findings(tmp_path: Path) -> None:
    """A table with a header alone has no kinds."""
    assert read_findings(write_findings(tmp_path / "f.csv", []), tested=[]) == []


def test_findings_without_their_checksum_are_refused(tmp_path: Path) -> None:
    """Half a table is still a table: only the checksum tells."""
    path = write_findings(tmp_path / "findings.csv", [])
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
def test_other_findings_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A missing or damaged table says in one line how to re-create it."""
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
    assert set(FINDING_MEANINGS) == {*get_args(ImageKind), *get_args(LeakKind), *get_args(ClassKind)}
