"""The prepare-dataset stage, top to bottom: from the table of images to labels, splits and findings."""

from dataclasses import replace

from schemas.params import Params
from stages.images.image_table import read_ingested
from stages.prepare_dataset.audit import audit_images, list_leaks, print_findings, write_findings
from stages.prepare_dataset.counts import count_images, print_summary
from stages.prepare_dataset.data_page.sections import PAGE_BYTES, render_data_page
from stages.prepare_dataset.groups import join_groups
from stages.prepare_dataset.leaks import find_leaked, find_leaks, handle_leaks
from stages.prepare_dataset.prepared import BYTES_PER_FILE, write_prepared
from stages.prepare_dataset.split import split_images
from stages.shared.files import (
    check_free_space,
    publish_folder,
    sha256_of,
    write_checksum,
    write_json,
    write_text,
)
from stages.shared.inputs import StageInputs
from stages.shared.packed_images import PackedImages
from stages.shared.paths import AUDIT, COUNTS, IMAGES, PREPARED
from stages.shared.progress import show_step


def prepare(params: Params, inputs: StageInputs) -> None:
    """Audit and split the images that ingest decoded.

    No pixels are read but those of the images that the page shows: another seed or policy takes seconds.
    """
    ingested, table = read_ingested(IMAGES)
    classes = ingested.classes
    check_free_space(PREPARED, num_bytes=BYTES_PER_FILE * len(table) + PAGE_BYTES)

    with show_step("prepare-dataset: looking for copies and near duplicates"):
        groups = join_groups(table, params.split, wrapper=ingested.wrapper)
    leaks = find_leaks(table, groups)
    table = handle_leaks(table, leaks, params.split)
    table, findings = audit_images(
        table, groups, params.audit, classes=classes, depth16=ingested.image.depth16
    )
    is_told = params.split.leaks != "ignore"
    findings = replace(findings, leaks=list_leaks(table, leaks) if is_told else [])
    print_findings(findings, table, params.audit)
    assignment = split_images(
        table, groups, params.split, classes=classes, kept=findings.kept, given=ingested.given_splits
    )

    leaked = find_leaked(groups, assignment.splits) if is_told else None

    with (
        show_step(f"prepare-dataset: writing {PREPARED} and {AUDIT}"),
        publish_folder(PREPARED) as folder,
        publish_folder(AUDIT) as audit_folder,
    ):
        write_findings(audit_folder / "findings.csv", findings, table, params.audit, classes=classes)
        write_checksum(audit_folder / "findings.csv")
        page = render_data_page(
            table,
            findings,
            assignment.splits,
            ingested=ingested,
            images=PackedImages(IMAGES, ingested.shards),
            audit=params.audit,
            split=params.split,
        )
        write_text(audit_folder / "data.html", page)
        manifest = write_prepared(
            folder,
            table,
            groups,
            assignment.splits,
            ingested=ingested,
            kept=findings.kept,
            leaked=leaked,
        )
        inputs.check_unchanged()
    metrics = count_images(
        manifest,
        table,
        groups,
        leaks,
        findings,
        assignment,
        fingerprint=inputs.describe(data_sha256=sha256_of(IMAGES / "manifest.json")).fingerprint,
    )
    write_json(COUNTS / "prepare.json", metrics)
    print_summary(metrics, manifest, groups, assignment, leaked)
    print(f"prepare-dataset: look at the data: {AUDIT / 'data.html'}")
