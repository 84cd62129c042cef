"""The prepare-dataset stage, top to bottom."""

import math
from pathlib import Path

import numpy as np

from schemas.params import Params
from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.shared.image import ImageForm
from stages.images.decode import DecodeLimits
from stages.prepare_dataset.audit import audit_images
from stages.prepare_dataset.contact_sheet import write_contact_sheet
from stages.prepare_dataset.findings import describe_findings, write_findings
from stages.prepare_dataset.index_rows import LeftOut, describe_images, describe_undecodable
from stages.prepare_dataset.ingest import ingest_images
from stages.prepare_dataset.leaks import find_leaks, take_out_leaks
from stages.prepare_dataset.listing import list_images
from stages.prepare_dataset.pack import shape_of
from stages.prepare_dataset.prepared import write_prepared
from stages.prepare_dataset.source import open_source
from stages.prepare_dataset.split import refuse_small_classes, split_images
from stages.prepare_dataset.store import open_store
from stages.prepare_dataset.summary import print_summary
from stages.prepare_dataset.undecodable import report_undecodable
from stages.prepare_dataset.units import join_units, refuse_group_without_use
from stages.shared.files import check_free_space, publish_folder, write_checksum, write_json
from stages.shared.inputs import StageInputs
from stages.shared.paths import AUDIT, METRICS, PREPARED


def prepare(params: Params, inputs: StageInputs) -> None:
    """Prepare the data set that params.yaml names."""
    path = Path(params.dataset.source)
    name = str(path)
    source = open_source(path)
    form = ImageForm(
        color=params.dataset.color,
        height_px=params.dataset.height_px,
        width_px=params.dataset.width_px,
        resize=params.dataset.resize,
    )
    limits = DecodeLimits(
        max_pixels=params.dataset.max_pixels,
        max_file_bytes=params.dataset.max_file_bytes,
        max_seconds=params.dataset.max_decode_seconds,
    )
    with (
        publish_folder(PREPARED) as folder,
        publish_folder(AUDIT) as audit_folder,
        open_store(form, limits, private=folder / "decoded") as store,
    ):
        # Meanwhile the store sees which of its packs are whole.
        collection = list_images(source, params.dataset)
        if collection.images.group_names and params.split.group != "column":
            print("prepare-dataset: the table's column group is not used: set split.group: column to use it")
        classes, given = collection.classes, collection.given_splits
        # Decoding can only take images away: refuse now what an hour of decoding would not mend.
        if params.audit.tiny_class != "exclude":
            refuse_small_classes(collection.images, params.split, classes=classes, given=given)
        refuse_group_without_use(collection.images, params.split)
        num_bytes = len(collection.images) * math.prod(shape_of(form))
        check_free_space(PREPARED, num_bytes=num_bytes, linked_bytes=store.num_bytes)
        ingested = ingest_images(
            collection.images, source, store, form=form, limits=limits, workers=params.dataset.workers
        )
        del source  # an archive's table is as large as all that is known of its images
        report_undecodable(collection.images, ingested.reasons, params.dataset)
        images, known = collection.images.take(ingested.decoded), ingested.of(ingested.decoded)
        units = join_units(images, known.fingerprints, known.details, params.split)
        leaks = find_leaks(images, units)
        left_out = take_out_leaks(leaks, images, params.split, source=name)
        present = np.ones(len(images), dtype=np.bool_)
        present[list(left_out)] = False
        findings = audit_images(
            images, known.fingerprints, units, params.audit, classes=classes, present=present, source=name
        )
        left_out |= {row: LeftOut("audit", reason) for row, reason in findings.left_out.items()}
        present[list(left_out)] = False
        write_contact_sheet(
            audit_folder / "worst.png", findings, images, params.audit, store=store, places=known.places
        )
        write_findings(audit_folder / "findings.csv", findings, images, params.audit)
        write_checksum(audit_folder / "findings.csv")
        for line in describe_findings(findings, images, params.audit):
            print(f"prepare-dataset: {line}")
        division = split_images(
            images.take(present), units.of(present), params.split, classes=findings.classes, given=given
        )
        shards = store.publish(folder, known.places[present], left_out=known.places[~present])
        manifest = write_prepared(
            folder,
            images.take(present),
            known.details.of(present),
            division.splits,
            rows=(
                describe_images(images, known.fingerprints, units, splits=division.splits, left_out=left_out),
                describe_undecodable(collection.images, ingested.reasons),
                collection.unused,
            ),
            classes=findings.classes,
            image_shards=shards,
            form=form,
        )
        store.keep(
            folder,
            shards,
            measured=known.measured,
            used=np.flatnonzero(present),
            left_out=np.flatnonzero(~present),
            left_out_places=known.places[~present],
        )
        inputs.check_unchanged()
    metrics = PrepareMetrics(
        num_classes=len(manifest.classes),
        num_train=sum(manifest.counts.train),
        num_val=sum(manifest.counts.val),
        num_test=sum(manifest.counts.test),
        num_undecodable=len(ingested.reasons),
        num_not_an_image=collection.unused.count("not_an_image"),
        num_outside_classes=collection.unused.count("outside_classes"),
        num_not_in_table=collection.unused.count("not_in_table"),
        num_hidden=collection.num_clutter["hidden"],
        num_system_files=collection.num_clutter["system"],
        num_copies=len(units.copies),
        num_near_duplicates=len(np.unique(units.near[:, 1])),
        num_conflicting_labels=len(findings.images["conflicting_labels"]),
        num_blank=len(findings.images["blank"]),
        num_extreme_size=len(findings.images["extreme_size"]),
        num_extreme_shape=len(findings.images["extreme_shape"]),
        num_tiny_classes=len(findings.of_classes["tiny_class"]),
        imbalance=findings.imbalance,
        num_excluded_by_audit=len(findings.left_out),
        num_together=sum(map(len, units.members.values())),
        num_leaks=len(leaks),
        num_moved=division.num_moved,
        fingerprint=inputs.describe(data_sha256=manifest.index.sha256).fingerprint,
    )
    write_json(METRICS / "prepare.json", metrics)
    print_summary(
        metrics,
        name=name,
        num_read=len(images),
        num_decoded=ingested.num_decoded,
        num_largest_unit=max(map(len, units.members.values()), default=0),
    )
