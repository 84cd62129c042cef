"""What the page says: classes and their splits, the images, the findings, and the files left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.ingest.ingested import Ingested
from schemas.prepare_dataset.audit import Audit
from schemas.prepare_dataset.split import Split
from schemas.shared.manifest import SPLIT_NAMES
from stages.images.image_table import FileStatus, ImageTable
from stages.pages.page import render_page
from stages.pages.wording import FINDING_MEANINGS
from stages.prepare_dataset.audit import ClassFinding, Finding, Findings
from stages.prepare_dataset.data_page import histograms
from stages.prepare_dataset.data_page.histograms import build_histograms
from stages.prepare_dataset.data_page.thumbnails import (
    MAX_CLASSES,
    Thumbnail,
    choose_samples,
    draw_thumbnails,
)
from stages.prepare_dataset.split import UNUSED
from stages.shared.packed_images import PackedImages

PAGE_BYTES = 5_000_000
"""The page stays below it, however many images and classes there are."""

_MAX_FINDINGS = 12
"""Of each kind; data/audit/findings.csv lists all of those that are not ignored."""

_MAX_FILES = 100
"""Left out for one reason; data/prepared/index.csv lists all."""

_THRESHOLDS: Mapping[str, Sequence[str]] = {
    "blank": ("audit.blank_std",),
    "dark": ("audit.max_deviations",),
    "bright": ("audit.max_deviations",),
    "low_information": ("audit.max_deviations",),
    "blurred": ("audit.max_deviations",),
    "extreme_size": ("audit.min_side_px", "audit.max_side_px", "audit.max_deviations"),
    "extreme_shape": ("audit.max_aspect_ratio", "audit.max_deviations"),
    "near_duplicates": ("split.near_duplicate_bits",),
    "conflicting_labels": ("split.near_duplicate_bits",),
    "tiny_class": ("audit.min_class_images",),
    "imbalance": ("audit.max_imbalance",),
}
"""The keys, beside its policy, that say what is found."""

_STATUS_MEANINGS: Mapping[FileStatus, tuple[str, str]] = {
    "undecodable": ("Cannot be decoded", "With dataset.undecodable: error they stop the run."),
    "audit": ("Left out by the audit", "By the findings above whose key is exclude."),
    "leak": ("Belong with an image in another split", "Left out by split.leaks: exclude."),
    "not_in_table": ("Not in the table of labels", "dataset.labels names it."),
    "outside_classes": ("Outside the class folders", "Only files in a class folder have a class."),
    "not_an_image": ("Not images", "By their names or, where those do not tell, by their first bytes."),
}
"""Heading and explanation."""


@dataclass(frozen=True)
class ClassRow:
    """Images of a class by split."""

    position: int
    label: str
    counts: Sequence[int]
    """In the order of SPLIT_NAMES."""

    num_left_out: int

    @property
    def num_used(self) -> int:
        """Return the images in any split."""
        return sum(self.counts)


@dataclass(frozen=True)
class ShownFinding:
    """A finding with its picture, and that of the image it is compared with."""

    detail: str
    images: Sequence[tuple[Thumbnail, str, str]]
    """Each with its class and its split; one or two."""


@dataclass(frozen=True)
class FindingSection:
    """All that is shown of one kind."""

    kind: str
    key: str
    """Of params.yaml, that decides what becomes of it."""

    policy: str
    thresholds: Mapping[str, object]
    """Other keys that decide what is found, with their values."""

    num_found: int
    num_left_out: int
    shown: Sequence[ShownFinding] = ()
    classes: Sequence[ClassFinding] = ()


@dataclass(frozen=True)
class LeftOut:
    """Files that are left out for one reason."""

    heading: str
    explanation: str
    num_files: int
    files: Sequence[tuple[str, str]]
    """Path and reason of the first ones."""


def render_data_page(
    table: ImageTable,
    findings: Findings,
    splits: npt.NDArray[np.int8],
    *,
    ingested: Ingested,
    images: PackedImages,
    audit: Audit,
    split: Split,
) -> str:
    """Return the page, to be stored as UTF-8.

    Args:
        table: All files, as the audit left them.
        findings: What the audit found.
        splits: (N,), the split of each file that is used.
        ingested: The source, with all its classes.
        images: The pixels that ingest stored.
        audit: Policies and thresholds.
        split: The same for what belongs together.
    """
    found: dict[str, list[Finding]] = {"leaks": findings.leaks}
    found |= {str(kind): some for kind, some in findings.images.items()}
    chosen = {kind: _choose_findings(some) for kind, some in found.items()}
    samples = choose_samples(table, findings.kept)
    rows = {row for some in samples.values() for row in some}
    rows |= {row for some in chosen.values() for finding in some for row in _rows_of(finding)}
    thumbnails = draw_thumbnails(sorted(rows), table, images)

    def show(finding: Finding) -> ShownFinding:
        labels = [ingested.classes[table.label[row]] for row in _rows_of(finding)]
        split_names = [_name_split(splits.item(row)) for row in _rows_of(finding)]
        pictures = [thumbnails[row] for row in _rows_of(finding)]
        return ShownFinding(finding.detail, list(zip(pictures, labels, split_names, strict=True)))

    sections = [
        FindingSection(
            kind,
            *_find_policy(kind, audit, split),
            len(found[kind]),
            int((splits[[finding.row for finding in found[kind]]] == UNUSED).sum()),
            shown=[show(finding) for finding in chosen[kind]],
        )
        for kind in found
        if found[kind]
    ]
    kept = {ingested.classes[label] for label in findings.kept}
    sections += [
        FindingSection(
            kind,
            *_find_policy(kind, audit, split),
            len(some),
            sum(finding.label not in kept for finding in some),
            classes=some[:_MAX_FILES],
        )
        for kind, some in findings.classes.items()
        if some
    ]
    class_rows = _count_classes(table, splits, ingested.classes)
    drawn, shared = build_histograms(table.take(splits != UNUSED))
    return render_page(
        Path(__file__).parent,
        geometry=histograms,
        counts={name: int((splits == code).sum()) for code, name in enumerate(SPLIT_NAMES)},
        classes=ingested.classes,
        num_kept=len(findings.kept),
        class_rows=class_rows[:MAX_CLASSES],
        largest=max(row.num_used + row.num_left_out for row in class_rows),
        histograms=drawn,
        shared=shared,
        form=ingested.image,
        samples=[
            (ingested.classes[label], [thumbnails[row] for row in some]) for label, some in samples.items()
        ],
        findings=[each for each in sections if each.policy != "ignore"],
        ignored=[each for each in sections if each.policy == "ignore"],
        left_out=list(_list_left_out(table)),
        meanings=FINDING_MEANINGS,
        max_findings=_MAX_FINDINGS,
    )


def _find_policy(kind: str, audit: Audit, split: Split) -> tuple[str, str, dict[str, object]]:
    """Return the key that decides about a kind, its value, and the other keys that say what is found."""
    values = {"audit": audit.model_dump(), "split": split.model_dump()}
    section = next(name for name in values if kind in values[name])
    thresholds = {
        key: values[key.partition(".")[0]][key.partition(".")[2]] for key in _THRESHOLDS.get(kind, ())
    }
    return f"{section}.{kind}", str(values[section][kind]), thresholds


def _choose_findings(found: Sequence[Finding]) -> list[Finding]:
    """Return the worst findings of a kind, one of two about the same pair."""
    chosen: dict[frozenset[int], Finding] = {}
    for finding in found:
        chosen.setdefault(frozenset(_rows_of(finding)), finding)
        if len(chosen) == _MAX_FINDINGS:
            break
    return list(chosen.values())


def _rows_of(finding: Finding) -> list[int]:
    return [finding.row] if finding.twin is None else [finding.row, finding.twin]


def _name_split(code: int) -> str:
    return "left out" if code == UNUSED else SPLIT_NAMES[code]


def _count_classes(table: ImageTable, splits: npt.NDArray[np.int8], classes: Sequence[str]) -> list[ClassRow]:
    """Return the images of every class, the largest first; other files that are in it do not count."""
    counts = [
        np.bincount(table.label[splits == code], minlength=len(classes)).tolist()
        for code in range(len(SPLIT_NAMES))
    ]
    is_left_out = table.has_status("undecodable") | table.has_status("leak") | table.has_status("audit")
    left_out = np.bincount(table.label[is_left_out & (table.label >= 0)], minlength=len(classes)).tolist()
    rows = [
        ClassRow(position, label, [of_split[position] for of_split in counts], left_out[position])
        for position, label in enumerate(classes)
    ]
    return sorted(rows, key=lambda row: (-row.num_used, row.position))


def _list_left_out(table: ImageTable) -> Iterator[LeftOut]:
    for status, words in _STATUS_MEANINGS.items():
        rows = np.flatnonzero(table.has_status(status))
        if len(rows):
            first = rows[:_MAX_FILES]
            yield LeftOut(*words, len(rows), list(zip(table.path[first], table.reason[first], strict=True)))
