"""The prepare-dataset stage, top to bottom: from the table of images to labels, splits and findings."""

from dataclasses import replace
from functools import partial

from schemas.params import Params
from stages.images.image_table import read_ingested
from stages.prepare_dataset.audit import audit_images, list_leaks, print_findings, write_findings
from stages.prepare_dataset.contact_sheet import write_contact_sheet
from stages.prepare_dataset.counts import count_images, print_summary
from stages.prepare_dataset.groups import join_groups
from stages.prepare_dataset.leaks import find_leaked, find_leaks, handle_leaks
from stages.prepare_dataset.prepared import BYTES_PER_FILE, write_prepared
from stages.prepare_dataset.split import split_images
from stages.shared.files import check_free_space, publish_folder, sha256_of, write_checksum, write_json
from stages.shared.inputs import StageInputs
from stages.shared.packed_images import PackedImages
from stages.shared.paths import AUDIT, IMAGES, METRICS, PREPARED


def prepare(params: Params, inputs: StageInputs) -> None:
    """Audit and split the images that ingest decoded.

    No pixel is read but those of the contact sheet: another seed or policy takes seconds.
    """
    ingested, table = read_ingested(IMAGES)
    classes = ingested.classes
    check_free_space(PREPARED, num_bytes=BYTES_PER_FILE * len(table))

    groups = join_groups(table, params.split, wrapper=ingested.wrapper)
    leaks = find_leaks(table, groups)
    table = handle_leaks(table, leaks, params.split)
    table, findings = audit_images(table, groups, params.audit, classes=classes)
    is_told = params.split.leaks != "ignore"
    findings = replace(findings, leaks=list_leaks(table, leaks) if is_told else [])
    print_findings(findings, table, params.audit)
    assignment = split_images(
        table, groups, params.split, classes=classes, kept=findings.kept, given=ingested.given_splits
    )

    leaked = find_leaked(groups, assignment.splits) if is_told else None

    with publish_folder(PREPARED) as folder, publish_folder(AUDIT) as audit_folder:
        write_findings(audit_folder / "findings.csv", findings, table, params.audit, classes=classes)
        write_checksum(audit_folder / "findings.csv")
        write_contact_sheet(
            audit_folder / "worst.png",
            findings,
            table,
            params.audit,
            classes=classes,
            open_images=partial(PackedImages, IMAGES, ingested.shards),
        )
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
    write_json(METRICS / "prepare.json", metrics)
    print_summary(metrics, manifest, groups, assignment, leaked)
