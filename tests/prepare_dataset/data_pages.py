"""Pages of small tables of images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from schemas.ingest.ingested import Ingested
from stages.images.image_table import ImageTable, read_ingested
from stages.prepare_dataset.audit import Finding, Findings, audit_images
from stages.prepare_dataset.data_page.sections import render_data_page
from stages.prepare_dataset.split import UNUSED
from stages.shared.packed_images import PackedImages
from tests.prepare_dataset.tables import (
    audit_params,
    classes_of,
    groups_of,
    split_params,
    write_images,
)

PATHS = [f"{label}/{i:02}.png" for label in ("cat", "dog") for i in range(10)]
HOSTILE = ("<script>alert(1)</script>", "\"onload='x", "new\nline", "\u202egnp.exe", "{{ 7 * 7 }}")


def render(
    folder: Path, table: ImageTable, *, findings: Findings | None = None, **policies: object
) -> tuple[str, Ingested]:
    """Return the page of a table of images, each of which is in the split of its row, modulo 3."""
    named = table.path[table.label >= 0].tolist()
    write_images(folder, table, classes=classes_of(named))
    ingested, table = read_ingested(folder)
    audit = audit_params(**policies)
    after, found = audit_images(
        table, groups_of(table), audit, classes=ingested.classes, depth16=ingested.image.depth16
    )
    splits = np.where(after.has_status("decoded"), np.arange(len(table)) % 3, UNUSED).astype(np.int8)
    images = PackedImages(folder, ingested.shards)
    html = render_data_page(
        after,
        findings or found,
        splits,
        ingested=ingested,
        images=images,
        audit=audit,
        split=split_params(),
    )
    return html, ingested


def findings_of(table: ImageTable, *, leaks: Sequence[Finding], **found: list[Finding]) -> Findings:
    """Return findings of some kinds in a table without any others."""
    _, findings = audit_images(
        table, groups_of(table), audit_params(), classes=classes_of(table.path), depth16="high_byte"
    )
    images = {kind: found.get(kind, some) for kind, some in findings.images.items()}
    return replace(findings, images=images, leaks=list(leaks))
