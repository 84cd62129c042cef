"""What is conspicuous about the images and classes, and what the policies make of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from schemas.audit.finding import ClassKind, ImageKind
from schemas.prepare_dataset.audit import Audit
from stages.prepare_dataset.fingerprint import Fingerprints
from stages.prepare_dataset.found_images import FoundImage
from stages.prepare_dataset.leaks import closeness_to_test
from stages.prepare_dataset.units import Units
from stages.shared.errors import InputError
from stages.shared.text import printable

IMAGE_KINDS: tuple[ImageKind, ...] = get_args(ImageKind)

Rows = npt.NDArray[np.bool_]
"""Array (num_images,), true for the images that are meant."""


class Finding(NamedTuple):
    """An image that is conspicuous."""

    row: int
    detail: str
    badness: float
    """Of several findings of a kind the largest is shown first."""

    twin: int | None = None
    """The image it is compared with."""


class ClassFinding(NamedTuple):
    """A class that is conspicuous."""

    label: str
    detail: str


@dataclass(frozen=True)
class Findings:
    """All that was found, kind by kind, the worst first."""

    images: dict[ImageKind, list[Finding]]
    left_out: dict[int, str]
    """Why each image that is to be left out is."""

    classes: tuple[str, ...]
    """The classes that stay."""

    of_classes: dict[ClassKind, list[ClassFinding]] = field(default_factory=dict)
    imbalance: float = 1.0
    """Images in the largest class for one in the smallest."""


def audit_images(
    images: Sequence[FoundImage],
    fingerprints: Fingerprints,
    units: Units,
    audit: Audit,
    *,
    classes: Sequence[str],
    present: Rows,
    source: str,
) -> Findings:
    """Look for every kind of finding; what one kind excludes, the next ones do not see.

    Args:
        images: All that could be decoded.
        fingerprints: Of each.
        units: Their copies and near duplicates.
        audit: Policies and thresholds.
        classes: All class names.
        present: Which of the images are still used.
        source: The source, for messages.

    Raises:
        InputError: Something is found whose policy is error.
    """
    finders: dict[ImageKind, Callable[[Rows], Iterator[Finding]]] = {
        "conflicting_labels": lambda rows: find_conflicts(images, units, rows),
        "blank": lambda rows: find_blank(fingerprints, rows, audit),
        "extreme_size": lambda rows: find_extreme_sizes(fingerprints, rows, audit),
        "extreme_shape": lambda rows: find_extreme_shapes(fingerprints, rows, audit),
        "copies": lambda rows: find_spare_copies(images, units, rows),
        "near_duplicates": lambda rows: find_spare_near_duplicates(images, units, rows),
    }
    present = present.copy()
    found: dict[ImageKind, list[Finding]] = {}
    left_out: dict[int, str] = {}
    for kind in IMAGE_KINDS:
        found[kind] = sorted(finders[kind](present), key=lambda finding: (-finding.badness, finding.row))
        if getattr(audit, kind) == "exclude":
            for finding in found[kind]:
                present[finding.row] = False
                left_out[finding.row] = f"{kind}: {finding.detail}"
    counts = dict.fromkeys(classes, 0)
    for row in np.flatnonzero(present).tolist():
        counts[images[row].label] += 1
    tiny = [
        ClassFinding(label, f"{count:,} image{'' if count == 1 else 's'}")
        for label, count in sorted(counts.items(), key=lambda item: item[1])
        if count < audit.min_class_images
    ]
    if audit.tiny_class == "exclude":
        dropped = {finding.label: finding.detail for finding in tiny}
        for row in np.flatnonzero(present).tolist():
            if images[row].label in dropped:
                left_out[row] = f"tiny_class: {dropped[images[row].label]}"
        classes = refuse_too_few_classes([label for label in classes if label not in dropped], audit)
    imbalance = _measure_imbalance([counts[label] for label in classes])
    findings = Findings(
        found,
        left_out,
        tuple(classes),
        {"tiny_class": tiny, "imbalance": _find_imbalance(counts, classes, imbalance, audit)},
        imbalance,
    )
    refuse_findings(findings, images, audit, source=source)
    return findings


def find_conflicts(images: Sequence[FoundImage], units: Units, rows: Rows) -> Iterator[Finding]:
    """Yield the copies and near duplicates that stand in different classes, all that are involved."""
    seen: set[int] = set()
    of_copies = [
        (row, twin)
        for members in _group_copies(units, rows)
        for row in members
        for twin in [other for other in members if images[other].label != images[row].label][:1]
    ]
    near = [
        pair for pair in _pair_near(images, units, rows) if images[pair[0]].label != images[pair[1]].label
    ]
    for badness, pairs in ((2.0, of_copies), (1.0, near), (1.0, [(twin, row) for row, twin in near])):
        for row, twin in pairs:
            if row not in seen:
                seen.add(row)
                detail = f"{_describe(images, twin)}, in class {images[twin].label}, is the same picture"
                yield Finding(row, detail, badness, twin)


def find_blank(fingerprints: Fingerprints, rows: Rows, audit: Audit) -> Iterator[Finding]:
    """Yield images of one colour, or nearly."""
    stds = fingerprints["std"]
    for row in np.flatnonzero(rows & (stds < audit.blank_std)).tolist():
        yield Finding(row, f"deviates by {stds[row]:.2f} grey levels", -float(stds[row]))


def find_extreme_sizes(fingerprints: Fingerprints, rows: Rows, audit: Audit) -> Iterator[Finding]:
    """Yield images with a side that is too short or too long."""
    heights, widths = _sides(fingerprints)
    low, high = np.minimum(heights, widths), np.maximum(heights, widths)
    for row in np.flatnonzero(rows & ((low < audit.min_side_px) | (high > audit.max_side_px))).tolist():
        badness = max(audit.min_side_px / low[row], high[row] / audit.max_side_px)
        yield Finding(row, f"{widths[row]} x {heights[row]} px", float(badness))


def find_extreme_shapes(fingerprints: Fingerprints, rows: Rows, audit: Audit) -> Iterator[Finding]:
    """Yield images that are strips."""
    heights, widths = _sides(fingerprints)
    ratios = np.maximum(heights, widths) / np.minimum(heights, widths)
    for row in np.flatnonzero(rows & (ratios > audit.max_aspect_ratio)).tolist():
        yield Finding(row, f"{widths[row]} x {heights[row]} px, {ratios[row]:.1f} : 1", float(ratios[row]))


def find_spare_copies(images: Sequence[FoundImage], units: Units, rows: Rows) -> Iterator[Finding]:
    """Yield all copies of a file but the one closest to the test."""
    for members in _group_copies(units, rows):
        kept = _choose(images, members)
        for row in members:
            if row != kept:
                yield Finding(row, f"the same file as {_describe(images, kept)}", len(members), kept)


def find_spare_near_duplicates(images: Sequence[FoundImage], units: Units, rows: Rows) -> Iterator[Finding]:
    """Yield the images that look like one that is kept; the closer to the test, the sooner kept.

    An image is spare only if one that is kept is its own twin, not only a twin's twin.
    """
    twins: dict[int, list[int]] = {}
    for left, right in _pair_near(images, units, rows):
        twins.setdefault(left, []).append(right)
        twins.setdefault(right, []).append(left)
    kept: set[int] = set()
    for row in sorted(twins, key=lambda row: (-closeness_to_test(images[row]), row)):
        twin = next((other for other in twins[row] if other in kept), None)
        if twin is None:
            kept.add(row)
        else:
            yield Finding(row, f"looks like {_describe(images, twin)}", len(twins[twin]), twin)


def refuse_findings(
    findings: Findings, images: Sequence[FoundImage], audit: Audit, *, source: str, at_most: int = 10
) -> None:
    """Stop if there is a finding whose policy is error, naming the first few of each kind."""
    lines = []
    for kind, found in findings.images.items():
        if getattr(audit, kind) == "error":
            lines += [
                f"{source}/{_describe(images, finding.row)}: {kind}: {finding.detail}; "
                f"remove it, or set audit.{kind}: exclude or warn"
                for finding in found[:at_most]
            ]
            if len(found) > at_most:
                lines.append(f"{source}: {len(found) - at_most:,} more of audit.{kind}")
    for class_kind, of_classes in findings.of_classes.items():
        if getattr(audit, class_kind) == "error":
            needed = f"at least {audit.min_class_images:,}" if class_kind == "tiny_class" else "more"
            lines += [
                f"{source}: class {finding.label}: {finding.detail}; give it {needed} images, or set "
                f"audit.{class_kind}: warn"
                for finding in of_classes[:at_most]
            ]
            if len(of_classes) > at_most:
                lines.append(f"{source}: {len(of_classes) - at_most:,} more of audit.{class_kind}")
    if lines:
        raise InputError("\n".join(lines))


def refuse_too_few_classes(classes: list[str], audit: Audit) -> list[str]:
    """Return the classes unless there is nothing left to tell apart."""
    if len(classes) < 2:
        raise InputError(
            f"audit.min_class_images: found {len(classes)} class{'' if len(classes) == 1 else 'es'} with at "
            f"least {audit.min_class_images:,} images; a classifier needs two: set it lower, or set "
            "audit.tiny_class: warn"
        )
    return classes


def _find_imbalance(
    counts: dict[str, int], classes: Sequence[str], imbalance: float, audit: Audit
) -> list[ClassFinding]:
    if imbalance <= audit.max_imbalance:
        return []
    smallest = min(classes, key=lambda label: counts[label])
    largest = max(classes, key=lambda label: counts[label])
    return [
        ClassFinding(
            smallest,
            f"{counts[smallest]:,} image{'' if counts[smallest] == 1 else 's'}, "
            f"class {largest} has {counts[largest]:,}",
        )
    ]


def _measure_imbalance(counts: Sequence[int]) -> float:
    return max(counts) / max(1, min(counts))


def _sides(fingerprints: Fingerprints) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return fingerprints["height_px"].astype(np.int64), fingerprints["width_px"].astype(np.int64)


def _choose(images: Sequence[FoundImage], members: Sequence[int]) -> int:
    """Return the image of several that is kept when one is: the closest to the test, the first of those."""
    return min(members, key=lambda row: (-closeness_to_test(images[row]), row))


def _group_copies(units: Units, rows: Rows) -> list[list[int]]:
    """Return the images that are one file, where there are several."""
    members: dict[int, list[int]] = {}
    for first, copy in units.copies.tolist():
        members.setdefault(first, [first]).append(copy)
    present = ([row for row in some if rows[row]] for some in members.values())
    return [some for some in present if len(some) > 1]


def _pair_near(images: Sequence[FoundImage], units: Units, rows: Rows) -> list[tuple[int, int]]:
    """Return the pairs of near duplicates; each file is spoken for by the copy that would be kept."""
    speaker: dict[int, int] = {}
    for first, copy in units.copies.tolist():
        speaker[first] = _choose(
            images, [row for row in (speaker.get(first, first), copy) if rows[row]] or [copy]
        )
    pairs = ((speaker.get(left, left), speaker.get(right, right)) for left, right in units.near.tolist())
    return [(left, right) for left, right in pairs if rows[left] and rows[right]]


def _describe(images: Sequence[FoundImage], row: int) -> str:
    return printable(images[row].path)
