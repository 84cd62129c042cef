"""What the audit found, in words: a line a kind to print, a line a finding in data/audit/findings.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.finding import FindingRow
from stages.prepare_dataset.audit import Findings
from stages.prepare_dataset.found_images import FoundImage
from stages.shared.text import printable


def describe_findings(findings: Findings, images: Sequence[FoundImage], audit: Audit) -> list[str]:
    """Return a line for each kind that is not ignored and was found, with the worst of it."""
    lines = []
    for kind, found in findings.images.items():
        if found and getattr(audit, kind) != "ignore":
            verb = "left out" if getattr(audit, kind) == "exclude" else "found"
            worst = f"{printable(images[found[0].row].path)} ({found[0].detail})"
            lines.append(f"audit: {verb} {len(found):,} {kind}, the worst: {worst}; see data/audit")
    for class_kind, of_classes in findings.of_classes.items():
        if of_classes and getattr(audit, class_kind) != "ignore":
            verb = "left out" if getattr(audit, class_kind) == "exclude" else "found"
            worst = f"{of_classes[0].label} ({of_classes[0].detail})"
            lines.append(f"audit: {verb} {len(of_classes):,} {class_kind}, the worst: {worst}")
    return lines


def write_findings(path: Path, findings: Findings, images: Sequence[FoundImage], audit: Audit) -> None:
    """Write one line for every finding of a kind that is not ignored, below a header of the field names."""
    rows = [
        FindingRow(
            kind=kind,
            path=printable(images[finding.row].path),
            label=images[finding.row].label,
            detail=finding.detail,
            became="left_out" if finding.row in findings.left_out else "used",
        )
        for kind, found in findings.images.items()
        if getattr(audit, kind) != "ignore"
        for finding in found
    ]
    rows += [
        FindingRow(
            kind=class_kind,
            path="",
            label=finding.label,
            detail=finding.detail,
            became="used" if finding.label in findings.classes else "left_out",
        )
        for class_kind, of_classes in findings.of_classes.items()
        if getattr(audit, class_kind) != "ignore"
        for finding in of_classes
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FindingRow.model_fields)
        writer.writerows([value for _, value in row] for row in rows)
