"""What the audit finds, in which order, and what the policies make of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from schemas.audit.finding import ImageKind
from schemas.prepare_dataset.audit import Audit
from schemas.shared.manifest import Depth16
from stages.prepare_dataset.audit import Findings, audit_images
from stages.shared.errors import InputError
from tests.prepare_dataset.tables import (
    audit_params,
    classes_of,
    concatenate,
    groups_of,
    other_files,
    table_of,
)

PATHS = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(4)]

Pairs = Iterable[tuple[int, int]]


def look(
    audit: Audit,
    *,
    paths: Sequence[str] = PATHS,
    copies: Pairs = (),
    near: Pairs = (),
    absent: Sequence[int] = (),
    depth16: Depth16 = "high_byte",
    **columns: Any,
) -> tuple[Findings, dict[int, str]]:
    """Return what is found in some images, by default eight of two classes, and why images are left out."""
    table = table_of(paths, **columns).leave_out(dict.fromkeys(absent, "elsewhere"), "leak")
    groups = groups_of(table, copies=copies, near=near)
    after, findings = audit_images(table, groups, audit, classes=classes_of(paths), depth16=depth16)
    left_out = np.flatnonzero(after.has_status("audit")).tolist()
    return findings, {row: after.reason[row] for row in left_out}


def find(audit: Audit, **given: Any) -> Findings:
    """Return what is found."""
    return look(audit, **given)[0]


def column(dtype: str, usual: float, num_rows: int = 8, **by_row: float) -> npt.NDArray[Any]:
    """Return a column of one value, but for some rows: `column("<f4", 50, r3=0)` has 0 in row 3."""
    values = np.full(num_rows, usual, dtype=dtype)
    for row, value in by_row.items():
        values[int(row[1:])] = value
    return values


def rows_of(findings: Findings, kind: ImageKind) -> list[int]:
    return [finding.row for finding in findings.images[kind]]


def test_nothing_is_found_in_ordinary_images() -> None:
    """No kind, no class, and no image left out, even with every policy `error`."""
    policies = dict.fromkeys(("blank", "copies", "tiny_class", "imbalance"), "error")
    findings, left_out = look(audit_params(**policies))
    assert not any(findings.images.values())
    assert not any(findings.classes.values())
    assert (left_out, findings.imbalance, findings.kept.tolist()) == ({}, 1.0, [0, 1])


def test_blank() -> None:
    """Below the threshold, the flattest first."""
    findings = find(audit_params(), std=column("<f4", 50, r1=2.9, r4=0, r6=3.0))
    assert rows_of(findings, "blank") == [4, 1]
    assert findings.images["blank"][1].detail == "deviates by 2.90 grey levels"


def test_blank_for_its_depth() -> None:
    """Where 16 bits were cut to 8, a blank image may hold a picture: there alone the line names the key."""
    columns = {"std": column("<f4", 50, r1=1, r4=0), "bits": column("<u1", 8, r1=16, r2=16)}
    of_eight, of_sixteen = find(audit_params(), **columns).images["blank"]
    assert of_eight.detail == "deviates by 0.00 grey levels"
    assert of_sixteen.detail == (
        "deviates by 1.00 grey levels; of 16 bits a channel the upper 8 are kept: see dataset.depth16"
    )
    spread = find(audit_params(), depth16="percentile", **columns).images["blank"]
    assert [finding.detail for finding in spread] == [
        "deviates by 0.00 grey levels",
        "deviates by 1.00 grey levels",
    ]


def test_extreme_sizes() -> None:
    """Too short a side or too long a one, the most extreme first; the limits themselves are allowed."""
    heights = column("<u4", 100, r0=7, r1=8, r2=1001, r3=1000, r4=1)
    findings = find(audit_params(max_aspect_ratio=1e9), height_px=heights)
    assert rows_of(findings, "extreme_size") == [4, 0, 2]
    assert findings.images["extreme_size"][0].detail == "90 x 1 px"


def test_extreme_shapes() -> None:
    """Strips of either direction, the thinnest first."""
    findings = find(audit_params(), height_px=column("<u4", 100, r0=361, r1=360, r2=10, r3=22))
    assert rows_of(findings, "extreme_shape") == [2, 3, 0]
    assert findings.images["extreme_shape"][0].detail == "90 x 10 px, 9.0 : 1"


def test_files_that_are_not_images_are_not_seen() -> None:
    """A file without pixels has zeros for measurements, and is neither blank nor small."""
    table = concatenate(table_of(PATHS), other_files(["cat/x.png"], "undecodable", reason="cut", label=0))
    after, findings = audit_images(
        table, groups_of(table), audit_params(), classes=("cat", "dog"), depth16="high_byte"
    )
    assert not any(findings.images.values())
    assert after.status.tolist() == table.status.tolist()
    assert findings.imbalance == 1.0


def test_copies_keep_one() -> None:
    """Of three files of the same bytes two are spare, whatever is left of them."""
    assert rows_of(find(audit_params(), copies=[(0, 1), (0, 2)]), "copies") == [1, 2]
    _, left_out = look(audit_params(copies="exclude"), copies=[(0, 1), (0, 2)])
    assert left_out == dict.fromkeys((1, 2), "copies: the same file as cat/0.png")


def test_the_image_closest_to_the_test_is_kept() -> None:
    """Where folders give splits, the training image is the spare one."""
    paths = [f"{split}/a/1.png" for split in ("train", "val", "test")]
    paths += [f"train/b/{i}.png" for i in range(3)]
    assert rows_of(find(audit_params(), copies=[(0, 1), (0, 2)], paths=paths), "copies") == [0, 1]
    near = find(audit_params(), near=[(0, 2), (1, 2)], paths=paths)
    assert rows_of(near, "near_duplicates") == [0, 1]


def test_the_kept_copy_stands_for_its_file() -> None:
    """A near duplicate of the first copy is one of whichever copy remains."""
    policies = audit_params(near_duplicates="exclude")
    _, left_out = look(policies, copies=[(0, 1)], near=[(0, 2)], absent=[0])
    assert left_out == {2: "near_duplicates: looks like cat/1.png"}


def test_a_chain_of_near_duplicates_keeps_both_ends() -> None:
    """The first and the third, which are not alike, both stay; only the one between is spare."""
    _, left_out = look(audit_params(near_duplicates="exclude"), near=[(0, 1), (1, 2)])
    assert left_out == {1: "near_duplicates: looks like cat/0.png"}


def test_conflicting_labels() -> None:
    """Every image of a set of copies of two classes, then both of each near pair, and none of one class."""
    findings = find(audit_params(), copies=[(0, 1), (0, 4)], near=[(2, 5), (6, 7)])
    assert rows_of(findings, "conflicting_labels") == [0, 1, 4, 2, 5]
    assert rows_of(find(audit_params(), near=[(2, 5)], copies=[(2, 3)]), "conflicting_labels") == [2, 5]
    assert findings.images["conflicting_labels"][0].detail == "dog/0.png, in class dog, is the same picture"


def test_what_one_kind_excludes_the_next_does_not_see() -> None:
    """A twin of an image that is left out is no longer spare."""
    policies = audit_params(blank="exclude", near_duplicates="exclude")
    findings, left_out = look(policies, std=column("<f4", 50, r0=0), copies=[(2, 3)], near=[(0, 1)])
    assert left_out == {0: "blank: deviates by 0.00 grey levels"}
    assert rows_of(findings, "copies") == [3]


def test_images_that_are_left_out_already_are_not_seen() -> None:
    """What is left out for another reason is no finding, and counts for no class."""
    findings = find(audit_params(min_class_images=4), copies=[(0, 1)], absent=[0])
    assert rows_of(findings, "copies") == []
    assert [finding.label for finding in findings.classes["tiny_class"]] == ["cat"]


@pytest.mark.parametrize(("policy", "kept"), [("warn", [0, 1, 2]), ("exclude", [0, 2])])
def test_tiny_classes(policy: str, kept: list[int]) -> None:
    """The class is named; excluded, it is gone with its images, and out of the imbalance."""
    findings, left_out = look(audit_params(tiny_class=policy), paths=[*PATHS, "cow/0.png"])
    assert findings.classes["tiny_class"] == [("cow", "1 image")]
    assert findings.kept.tolist() == kept
    assert left_out == ({} if policy == "warn" else {8: "tiny_class: 1 image"})
    assert findings.imbalance == (4.0 if policy == "warn" else 1.0)
    assert bool(findings.classes["imbalance"]) == (policy == "warn")


def test_too_few_classes_remain() -> None:
    """Excluding all classes but one is refused, with the parameter to change."""
    with pytest.raises(
        InputError, match=r"^audit.min_class_images: found 0 classes with at least 5 images; "
    ):
        look(audit_params(tiny_class="exclude", min_class_images=5))


def test_imbalance() -> None:
    """The ratio is measured, and beyond the limit the smallest class is named."""
    paths = [f"cat/{i}.png" for i in range(5)] + [f"dog/{i}.png" for i in range(2)]
    findings = find(audit_params(), paths=paths)
    assert findings.imbalance == 2.5
    assert findings.classes["imbalance"] == [
        ("dog", "2 images, class cat has 5; see loader.sampling: balanced")
    ]
    assert not find(audit_params(max_imbalance=2.5), paths=paths).classes["imbalance"]


def test_errors_name_the_first_few() -> None:
    """A thousand blank images are told in eleven lines."""
    paths = [f"{'ab'[i % 2]}/{i}.png" for i in range(1000)]
    with pytest.raises(InputError) as caught:
        look(audit_params(blank="error"), std=column("<f4", 0, 1000), paths=paths)
    lines = str(caught.value).split("\n")
    assert len(lines) == 11
    assert lines[0].startswith(
        "a/0.png: blank: deviates by 0.00 grey levels; remove it, or set audit.blank: "
    )
    assert lines[-1] == "990 more of audit.blank"
