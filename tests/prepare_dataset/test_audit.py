"""What the audit finds, in which order, and what the policies make of it."""

from collections.abc import Sequence

import numpy as np
import pytest
from stages.prepare_dataset.fingerprint import FINGERPRINT, Fingerprints

from schemas.audit.finding import ImageKind
from schemas.prepare_dataset.audit import Audit
from schemas.shared.manifest import SplitName
from stages.prepare_dataset.audit import Findings, audit_images
from stages.prepare_dataset.duplicates import join_pairs
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError
from tests.prepare_dataset.samples import audit_params, found

PATHS = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(4)]
IMAGES = tuple(found(path) for path in PATHS)


def ordinary(num_images: int) -> Fingerprints:
    """Return fingerprints of images that are conspicuous for nothing."""
    rows = np.zeros(num_images, dtype=FINGERPRINT)
    rows["std"], rows["height_px"], rows["width_px"] = 50, 100, 90
    return rows


def look(
    audit: Audit,
    *,
    rows: Fingerprints | None = None,
    copies: Sequence[tuple[int, int]] = (),
    near: Sequence[tuple[int, int]] = (),
    images: Sequence[FoundImage] = IMAGES,
    absent: Sequence[int] = (),
) -> Findings:
    """Return what is found in eight images of two classes."""
    pairs = [np.array(some, dtype=np.int64).reshape(-1, 2) for some in (copies, near)]
    units = Units(join_pairs(len(images), *pairs), [image.path for image in images], *pairs)
    present = np.ones(len(images), dtype=np.bool_)
    present[list(absent)] = False
    return audit_images(
        images,
        ordinary(len(images)) if rows is None else rows,
        units,
        audit,
        classes=sorted({image.label for image in images}),
        present=present,
        source="raw",
    )


def rows_of(findings: Findings, kind: ImageKind) -> list[int]:
    return [finding.row for finding in findings.images[kind]]


def test_nothing_is_found_in_ordinary_images() -> None:
    """No kind, no class, and no image left out, even with every policy `error`."""
    findings = look(audit_params(**dict.fromkeys(("blank", "copies", "tiny_class", "imbalance"), "error")))
    assert not any(findings.images.values())
    assert not any(findings.of_classes.values())
    assert (findings.left_out, findings.imbalance) == ({}, 1.0)


def test_blank() -> None:
    """Below the threshold, the flattest first."""
    rows = ordinary(8)
    rows["std"][[1, 4, 6]] = 2.9, 0, 3.0
    findings = look(audit_params(), rows=rows)
    assert rows_of(findings, "blank") == [4, 1]
    assert findings.images["blank"][1].detail == "deviates by 2.90 grey levels"


def test_extreme_sizes() -> None:
    """Too short a side or too long a one, the most extreme first; the limits themselves are allowed."""
    rows = ordinary(8)
    rows["height_px"][:5] = 7, 8, 1001, 1000, 1
    findings = look(audit_params(max_aspect_ratio=1e9), rows=rows)
    assert rows_of(findings, "extreme_size") == [4, 0, 2]
    assert findings.images["extreme_size"][0].detail == "90 x 1 px"


def test_extreme_shapes() -> None:
    """Strips of either direction, the thinnest first."""
    rows = ordinary(8)
    rows["height_px"][:4] = 361, 360, 10, 22
    findings = look(audit_params(), rows=rows)
    assert rows_of(findings, "extreme_shape") == [2, 3, 0]
    assert findings.images["extreme_shape"][0].detail == "90 x 10 px, 9.0 : 1"


def test_copies_keep_one() -> None:
    """Of three files of the same bytes two are spare, whatever is left of them."""
    assert rows_of(look(audit_params(), copies=[(0, 1), (0, 2)]), "copies") == [1, 2]
    findings = look(audit_params(copies="exclude"), copies=[(0, 1), (0, 2)])
    assert findings.left_out == dict.fromkeys((1, 2), "copies: the same file as cat/0.png")


def test_the_image_closest_to_the_test_is_kept() -> None:
    """Where folders give splits, the training image is the spare one."""
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    images = [FoundImage(f"{split}/a/1.png", "", "a", split) for split in splits]
    images += [FoundImage(f"train/b/{i}.png", "", "b", "train") for i in range(3)]
    assert rows_of(look(audit_params(), copies=[(0, 1), (0, 2)], images=images), "copies") == [0, 1]
    assert rows_of(look(audit_params(), near=[(0, 2), (1, 2)], images=images), "near_duplicates") == [0, 1]


def test_the_kept_copy_speaks_for_its_file() -> None:
    """A near duplicate of the first copy is one of whichever copy remains."""
    findings = look(audit_params(near_duplicates="exclude"), copies=[(0, 1)], near=[(0, 2)], absent=[0])
    assert findings.left_out == {2: "near_duplicates: looks like cat/1.png"}


def test_a_chain_of_likenesses_keeps_both_ends() -> None:
    """The first and the third, which are not alike, both stay; only the one between is spare."""
    findings = look(audit_params(near_duplicates="exclude"), near=[(0, 1), (1, 2)])
    assert findings.left_out == {1: "near_duplicates: looks like cat/0.png"}


def test_conflicting_labels() -> None:
    """Every image of a set of copies of two classes, then both of each near pair, and none of one class."""
    findings = look(audit_params(), copies=[(0, 1), (0, 4)], near=[(2, 5), (6, 7)])
    assert rows_of(findings, "conflicting_labels") == [0, 1, 4, 2, 5]
    assert rows_of(look(audit_params(), near=[(2, 5)], copies=[(2, 3)]), "conflicting_labels") == [2, 5]
    assert findings.images["conflicting_labels"][0].detail == "dog/0.png, in class dog, is the same picture"


def test_what_one_kind_excludes_the_next_does_not_see() -> None:
    """A twin of an image that is left out is no spare any more."""
    rows = ordinary(8)
    rows["std"][0] = 0
    policies = audit_params(blank="exclude", near_duplicates="exclude")
    seen = look(policies, rows=rows, copies=[(2, 3)], near=[(0, 1)])
    assert seen.left_out == {0: "blank: deviates by 0.00 grey levels"}
    assert rows_of(seen, "copies") == [3]


def test_images_that_are_absent_are_not_seen() -> None:
    """What is left out for another reason is no finding, and counts for no class."""
    findings = look(audit_params(min_class_images=4), copies=[(0, 1)], absent=[0])
    assert rows_of(findings, "copies") == []
    assert [finding.label for finding in findings.of_classes["tiny_class"]] == ["cat"]


@pytest.mark.parametrize(
    ("policy", "classes"), [("warn", ("cat", "dog", "emu")), ("exclude", ("cat", "dog"))]
)
def test_tiny_classes(policy: str, classes: tuple[str, ...]) -> None:
    """The class is named; excluded, it is gone with its images, and out of the imbalance."""
    images = [found(path) for path in (*PATHS, "emu/0.png")]
    findings = look(audit_params(tiny_class=policy), images=images)
    assert findings.of_classes["tiny_class"] == [("emu", "1 image")]
    assert findings.classes == classes
    assert findings.left_out == ({} if policy == "warn" else {8: "tiny_class: 1 image"})
    assert findings.imbalance == (4.0 if policy == "warn" else 1.0)
    assert bool(findings.of_classes["imbalance"]) == (policy == "warn")


def test_too_few_classes_remain() -> None:
    """Excluding all classes but one is refused, with the parameter to change."""
    with pytest.raises(
        InputError, match=r"^audit.min_class_images: found 0 classes with at least 5 images; "
    ):
        look(audit_params(tiny_class="exclude", min_class_images=5))


def test_imbalance() -> None:
    """The ratio is measured, and beyond the limit the smallest class is named."""
    images = [found(f"cat/{i}.png") for i in range(5)] + [found(f"dog/{i}.png") for i in range(2)]
    findings = look(audit_params(), images=images)
    assert findings.imbalance == 2.5
    assert findings.of_classes["imbalance"] == [("dog", "2 images, class cat has 5")]
    assert not look(audit_params(max_imbalance=2.5), images=images).of_classes["imbalance"]


def test_errors_name_the_first_few() -> None:
    """A thousand blank images are told in eleven lines."""
    rows = ordinary(1000)
    rows["std"] = 0
    images = [found(f"{'ab'[i % 2]}/{i}.png") for i in range(1000)]
    with pytest.raises(InputError) as caught:
        look(audit_params(blank="error"), rows=rows, images=images)
    lines = str(caught.value).split("\n")
    assert len(lines) == 11
    assert lines[0].startswith(
        "raw/a/0.png: blank: deviates by 0.00 grey levels; remove it, or set audit.blank: "
    )
    assert lines[-1] == "raw: 990 more of audit.blank"
