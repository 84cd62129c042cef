"""What is suspicious about images and classes, what the policies make of it, and the words for it.

Kinds are looked for in the order of `IMAGE_KINDS`; an image that one kind excludes is not seen by the next.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from schemas.audit.finding import ClassKind, FindingRow, ImageKind, LeakKind
from schemas.prepare_dataset.audit import Audit
from schemas.shared.manifest import Depth16
from stages.images.image_table import ImageTable
from stages.prepare_dataset.groups import Groups
from stages.prepare_dataset.leaks import Mates, closeness_to_test
from stages.prepare_dataset.outliers import LOOKS, SHAPE, SIZE, LookKind, compare, describe_look
from stages.shared.errors import InputError, path_for_csv

IMAGE_KINDS: tuple[ImageKind, ...] = get_args(ImageKind)

Mask = npt.NDArray[np.bool_]
"""Array (N,), true for the rows of images that are still used."""


class Finding(NamedTuple):
    """A suspicious image."""

    row: int
    detail: str
    badness: float
    """The worst finding of a kind is shown first."""

    twin: int | None = None
    """Row of the image it is compared with."""


class ClassFinding(NamedTuple):
    """A suspicious class."""

    label: str
    detail: str


@dataclass(frozen=True)
class Findings:
    """All that was found, kind by kind, the worst first."""

    images: dict[ImageKind, list[Finding]]
    classes: dict[ClassKind, list[ClassFinding]]

    kept: npt.NDArray[np.int64]
    """Labels of the classes that stay, sorted."""

    imbalance: float
    """Images in the largest class divided by images in the smallest."""

    leaks: list[Finding] = field(default_factory=list)
    """Images that belong with one in a split folder closer to the test; empty with split.leaks: ignore."""


def audit_images(
    table: ImageTable, groups: Groups, audit: Audit, *, classes: Sequence[str], depth16: Depth16
) -> tuple[ImageTable, Findings]:
    """Look for every kind of finding, and return the table without what is to be excluded.

    Args:
        table: All files.
        groups: Which of them belong together.
        audit: Policies and thresholds.
        classes: By label.
        depth16: How images of more than 8 bits were decoded.

    Raises:
        InputError: Something is found whose policy is error, or fewer than two classes stay.
    """
    finders: dict[ImageKind, Callable[[Mask], Iterator[Finding]]] = {
        "conflicting_labels": lambda is_used: find_conflicts(table, groups, is_used, classes),
        "blank": lambda is_used: find_blank(table, is_used, audit, depth16),
        "dark": lambda is_used: find_odd_looks("dark", table, is_used, audit, depth16),
        "bright": lambda is_used: find_odd_looks("bright", table, is_used, audit, depth16),
        "low_information": lambda is_used: find_odd_looks("low_information", table, is_used, audit, depth16),
        "blurred": lambda is_used: find_odd_looks("blurred", table, is_used, audit, depth16),
        "extreme_size": lambda is_used: find_extreme_sizes(table, is_used, audit),
        "extreme_shape": lambda is_used: find_extreme_shapes(table, is_used, audit),
        "copies": lambda is_used: find_spare_copies(table, groups, is_used),
        "near_duplicates": lambda is_used: find_spare_near_duplicates(table, groups, is_used),
    }
    is_used = table.has_status("decoded")
    reasons: dict[int, str] = {}
    found: dict[ImageKind, list[Finding]] = {}
    for kind in IMAGE_KINDS:
        found[kind] = sorted(finders[kind](is_used), key=lambda finding: (-finding.badness, finding.row))
        if getattr(audit, kind) == "exclude":
            reasons |= {finding.row: f"{kind}: {finding.detail}" for finding in found[kind]}
            is_used[[finding.row for finding in found[kind]]] = False
    counts = np.bincount(table.label[is_used], minlength=len(classes))
    tiny = [label for label in np.argsort(counts, kind="stable") if counts[label] < audit.min_class_images]
    tiny_details = {int(label): _count_images(counts[label]) for label in tiny}
    kept = np.arange(len(classes))
    if audit.tiny_class == "exclude":
        kept = np.setdiff1d(kept, tiny)
        _check_number_of_classes(len(kept), audit)
        for row in np.flatnonzero(is_used & np.isin(table.label, tiny)).tolist():
            reasons[row] = f"tiny_class: {tiny_details[table.label.item(row)]}"
    findings = Findings(
        found,
        {
            "tiny_class": [ClassFinding(classes[label], detail) for label, detail in tiny_details.items()],
            "imbalance": find_imbalance(counts, kept, audit, classes),
        },
        kept,
        float(counts[kept].max() / max(1, counts[kept].min())),
    )
    check_findings(findings, table, audit)
    return table.leave_out(reasons, "audit"), findings


def list_leaks(table: ImageTable, leaks: Mates) -> list[Finding]:
    """Return the leaks as findings: copies first, images that only share a group last."""
    badness = -leaks.relations.astype(np.float64)
    return [
        Finding(leaks.rows.item(at), leaks.describe(table, at), badness.item(at), leaks.mates.item(at))
        for at in np.argsort(-badness, kind="stable").tolist()
    ]


def find_conflicts(
    table: ImageTable, groups: Groups, is_used: Mask, classes: Sequence[str]
) -> Iterator[Finding]:
    """Yield the copies and near duplicates that are in different classes, all that are involved."""
    label = table.label
    of_copies = [
        pair for members in _list_copies(groups, is_used) for pair in _pair_across_classes(members, label)
    ]
    near = [
        (left, right) for left, right in _pair_near(table, groups, is_used) if label[left] != label[right]
    ]
    seen: set[int] = set()
    for badness, pairs in ((2.0, of_copies), (1.0, near), (1.0, [(twin, row) for row, twin in near])):
        for row, twin in pairs:
            if row not in seen:
                seen.add(row)
                detail = f"{_path(table, twin)}, in class {classes[label[twin]]}, is the same picture"
                yield Finding(row, detail, badness, twin)


def _pair_across_classes(members: Sequence[int], label: npt.NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Yield each copy of one file with the first copy that is in another class, if there are any."""
    first = members[0]
    other = next((row for row in members if label[row] != label[first]), None)
    if other is not None:
        for row in members:
            yield row, other if label[row] == label[first] else first


def find_blank(table: ImageTable, is_used: Mask, audit: Audit, depth16: Depth16) -> Iterator[Finding]:
    """Yield images of one colour, or nearly."""
    for row in np.flatnonzero(is_used & (table.std < audit.blank_std)).tolist():
        std = table.std.item(row)
        detail = f"deviates by {std:.2f} grey levels{_mention_depth(table, row, depth16)}"
        yield Finding(row, detail, -std)


def _mention_depth(table: ImageTable, row: int, depth16: Depth16) -> str:
    """Return what else to look at where an image may be dark only for the bits that were dropped."""
    bits = table.bits.item(row)
    if bits <= 8 or depth16 != "high_byte":
        return ""
    return f"; of {bits} bits a channel the upper 8 are kept: see dataset.depth16"


def find_odd_looks(
    kind: LookKind, table: ImageTable, is_used: Mask, audit: Audit, depth16: Depth16
) -> Iterator[Finding]:
    """Yield images that look unlike the rest in one way; blank ones are left aside."""
    is_compared = is_used & (table.std >= audit.blank_std)
    if kind == "blurred":
        is_compared &= table.sharpness > 0  # without edges there is nothing to be blurred
    comparison = compare(LOOKS[kind], table, is_compared)
    for row in np.flatnonzero(-comparison.deviations > audit.max_deviations).tolist():
        detail = describe_look(kind, table, row, comparison)
        if kind in ("dark", "low_information"):
            detail += _mention_depth(table, row, depth16)
        yield Finding(row, detail, -comparison.deviations.item(row))


def find_extreme_sizes(table: ImageTable, is_used: Mask, audit: Audit) -> Iterator[Finding]:
    """Yield images with a side that is too short or too long, or of another size than the rest."""
    low, high = np.minimum(table.height_px, table.width_px), np.maximum(table.height_px, table.width_px)
    comparison = compare(SIZE, table, is_used)
    distances = np.abs(comparison.deviations)
    is_outside = (low < audit.min_side_px) | (high > audit.max_side_px)
    for row in np.flatnonzero(is_used & (is_outside | (distances > audit.max_deviations))).tolist():
        detail = f"{table.width_px[row]} x {table.height_px[row]} px"
        badness = max(
            audit.min_side_px / low.item(row),
            high.item(row) / audit.max_side_px,
            distances.item(row) / audit.max_deviations,
        )
        if not is_outside[row]:
            detail += f", where a square of {math.exp(comparison.median):,.0f} px is usual"
        yield Finding(row, detail, badness)


def find_extreme_shapes(table: ImageTable, is_used: Mask, audit: Audit) -> Iterator[Finding]:
    """Yield images that are strips, or of another shape than the rest."""
    low, high = np.minimum(table.height_px, table.width_px), np.maximum(table.height_px, table.width_px)
    ratios = high / np.maximum(low, 1)  # zero for files that were not decoded
    comparison = compare(SHAPE, table, is_used)
    distances = np.abs(comparison.deviations)
    is_strip = ratios > audit.max_aspect_ratio
    for row in np.flatnonzero(is_used & (is_strip | (distances > audit.max_deviations))).tolist():
        detail = f"{table.width_px[row]} x {table.height_px[row]} px, {ratios[row]:.1f} : 1"
        badness = max(ratios.item(row) / audit.max_aspect_ratio, distances.item(row) / audit.max_deviations)
        if not is_strip[row]:
            detail += f", where {math.exp(comparison.median):.1f} : 1 is usual"
        yield Finding(row, detail, badness)


def find_spare_copies(table: ImageTable, groups: Groups, is_used: Mask) -> Iterator[Finding]:
    """Yield all copies of a file but the one closest to the test."""
    closeness = closeness_to_test(table)
    for members in _list_copies(groups, is_used):
        kept = _choose(closeness, members)
        for row in members:
            if row != kept:
                yield Finding(row, f"the same file as {_path(table, kept)}", len(members), kept)


def find_spare_near_duplicates(table: ImageTable, groups: Groups, is_used: Mask) -> Iterator[Finding]:
    """Yield the images that look like one that is kept; the closer to the test, the sooner kept.

    An image is spare only if one that is kept is its own twin, not only a twin's twin.
    """
    closeness = closeness_to_test(table)
    twins: dict[int, list[int]] = {}
    for left, right in _pair_near(table, groups, is_used):
        twins.setdefault(left, []).append(right)
        twins.setdefault(right, []).append(left)
    kept: set[int] = set()
    for row in sorted(twins, key=lambda row: (-closeness[row], row)):
        twin = next((other for other in twins[row] if other in kept), None)
        if twin is None:
            kept.add(row)
        else:
            yield Finding(row, f"looks like {_path(table, twin)}", len(twins[twin]), twin)


def find_imbalance(
    counts: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], audit: Audit, classes: Sequence[str]
) -> list[ClassFinding]:
    """Return the smallest class if the largest has too many times its images."""
    smallest, largest = kept[counts[kept].argmin()], kept[counts[kept].argmax()]
    if counts[largest] / max(1, counts[smallest]) <= audit.max_imbalance:
        return []
    found = f"{_count_images(counts[smallest])}, class {classes[largest]} has {counts[largest]:,}"
    return [ClassFinding(classes[smallest], f"{found}; see loader.sampling: balanced")]


def _list_copies(groups: Groups, is_used: Mask) -> list[list[int]]:
    """Return the images that are one file, where there are several."""
    members: dict[int, list[int]] = {}
    for first, copy in groups.copies.tolist():
        members.setdefault(first, [first]).append(copy)
    used = ([row for row in some if is_used[row]] for some in members.values())
    return [some for some in used if len(some) > 1]


def _pair_near(table: ImageTable, groups: Groups, is_used: Mask) -> list[tuple[int, int]]:
    """Return the pairs of near duplicates.

    `groups.near` names the first copy of a file. That one may be excluded, so the copy that would be kept
    stands for all of them here.
    """
    closeness = closeness_to_test(table)
    stand_in: dict[int, int] = {}
    for first, copy in groups.copies.tolist():
        candidates = [row for row in (stand_in.get(first, first), copy) if is_used[row]]
        stand_in[first] = _choose(closeness, candidates or [copy])
    pairs = ((stand_in.get(left, left), stand_in.get(right, right)) for left, right in groups.near.tolist())
    return [(left, right) for left, right in pairs if is_used[left] and is_used[right]]


def _choose(closeness: npt.NDArray[np.int8], members: Sequence[int]) -> int:
    """Return the image of several that is kept when one is: the closest to the test, the first of those."""
    return min(members, key=lambda row: (-closeness[row], row))


def check_findings(findings: Findings, table: ImageTable, audit: Audit, *, at_most: int = 10) -> None:
    """Stop if there is a finding whose policy is error, naming the first few of each kind."""
    lines = []
    for kind, found in findings.images.items():
        if getattr(audit, kind) == "error":
            advice = f"remove it, or set audit.{kind}: exclude or warn"
            lines += [
                f"{_path(table, finding.row)}: {kind}: {finding.detail}; {advice}"
                for finding in found[:at_most]
            ]
            if len(found) > at_most:
                lines.append(f"{len(found) - at_most:,} more of audit.{kind}")
    for class_kind, of_classes in findings.classes.items():
        if getattr(audit, class_kind) == "error":
            needed = f"at least {audit.min_class_images:,}" if class_kind == "tiny_class" else "more"
            advice = f"give it {needed} images, or set audit.{class_kind}: warn"
            lines += [f"class {label}: {detail}; {advice}" for label, detail in of_classes[:at_most]]
            if len(of_classes) > at_most:
                lines.append(f"{len(of_classes) - at_most:,} more of audit.{class_kind}")
    if lines:
        raise InputError("\n".join(lines))


def print_findings(findings: Findings, table: ImageTable, audit: Audit) -> None:
    """Print a line for each kind that is not ignored and was found, with the worst of it."""
    if findings.leaks:
        worst_leak = findings.leaks[0]
        verb = "left out" if table.has_status("leak").any() else "found"
        print(
            f"prepare-dataset: audit: {verb} {len(findings.leaks):,} leaks, the worst: "
            f"{_path(table, worst_leak.row)} ({worst_leak.detail}); see data/audit"
        )
    kinds: list[tuple[str, int, str]] = [
        (kind, len(found), f"{_path(table, found[0].row)} ({found[0].detail}); see data/audit")
        for kind, found in findings.images.items()
        if found
    ]
    kinds += [
        (class_kind, len(of_classes), f"{of_classes[0].label} ({of_classes[0].detail})")
        for class_kind, of_classes in findings.classes.items()
        if of_classes
    ]
    for name, number, worst in kinds:
        policy = getattr(audit, name)
        if policy != "ignore":
            verb = "left out" if policy == "exclude" else "found"
            print(f"prepare-dataset: audit: {verb} {number:,} {name}, the worst: {worst}")


def write_findings(
    path: Path, findings: Findings, table: ImageTable, audit: Audit, *, classes: Sequence[str]
) -> None:
    """Write one line for every finding of a kind that is not ignored, below a header of the field names.

    Args:
        path: The CSV file.
        findings: What was found.
        table: As the audit left it.
        audit: Which kinds are ignored.
        classes: All class names.
    """
    is_used = table.has_status("decoded")
    kept = {classes[label] for label in findings.kept}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FindingRow.model_fields)
        for row in _list_rows(findings, table, audit, classes, is_used, kept):
            writer.writerow([value for _, value in row])


def _list_rows(
    findings: Findings,
    table: ImageTable,
    audit: Audit,
    classes: Sequence[str],
    is_used: Mask,
    kept: set[str],
) -> Iterator[FindingRow]:
    told: list[tuple[ImageKind | LeakKind, list[Finding]]] = [("leaks", findings.leaks)]
    told += [(kind, some) for kind, some in findings.images.items() if getattr(audit, kind) != "ignore"]
    for told_kind, found in told:
        for finding in found:
            yield FindingRow(
                kind=told_kind,
                path=_path(table, finding.row),
                label=classes[table.label[finding.row]],
                detail=finding.detail,
                became="used" if is_used[finding.row] else "left_out",
            )
    for class_kind, of_classes in findings.classes.items():
        for label, detail in of_classes if getattr(audit, class_kind) != "ignore" else []:
            yield FindingRow(
                kind=class_kind,
                path="",
                label=label,
                detail=detail,
                became="used" if label in kept else "left_out",
            )


def _check_number_of_classes(number: int, audit: Audit) -> None:
    if number < 2:
        raise InputError(
            f"audit.min_class_images: found {number} class{'' if number == 1 else 'es'} with at "
            f"least {audit.min_class_images:,} images; a classifier needs two: set it lower, or set "
            "audit.tiny_class: warn"
        )


def _count_images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"


def _path(table: ImageTable, row: int) -> str:
    return path_for_csv(table.path[row])
