"""prepare-dataset: turn `dataset.source` into data/prepared.

List, decode once, check, find what belongs together, audit, split, pack, measure. Run by `dvc repro`, or
as `python -m stages.prepare_dataset`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from schemas.prepare_dataset.dataset import Dataset
from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.shared.image import ImageForm
from schemas.shared.index import IndexRow
from schemas.shared.manifest import SPLIT_NAMES, FileRecord, Manifest, SplitCounts
from stages.images.decode import ImageFile, decode_files
from stages.images.source import Source
from stages.params.read import read_params
from stages.prepare_dataset.audit import Rows, audit_images
from stages.prepare_dataset.collect import FoundImage, collect_images, describe_left_out
from stages.prepare_dataset.contact_sheet import write_contact_sheet
from stages.prepare_dataset.findings import describe_findings, write_findings
from stages.prepare_dataset.fingerprint import Fingerprints, fingerprint_image, stack_fingerprints
from stages.prepare_dataset.index_rows import LeftOut, describe_images
from stages.prepare_dataset.leaks import find_leaks, take_out_leaks
from stages.prepare_dataset.pack import ChannelSums, ShardWriter, keep_rows, sum_channels, write_array
from stages.prepare_dataset.source import open_source
from stages.prepare_dataset.split import refuse_small_classes, split_images
from stages.prepare_dataset.units import find_groups, join_units
from stages.shared.errors import InputError, run_stage
from stages.shared.files import publish_folder, write_json, write_sealed_json
from stages.shared.index import write_index
from stages.shared.inputs import take_inputs
from stages.shared.paths import AUDIT, METRICS, PREPARED
from stages.shared.text import printable


def main() -> None:
    """Prepare the data set that params.yaml names."""
    params = read_params()
    inputs = take_inputs("prepare-dataset", params, read_params)
    path = Path(params.dataset.source)
    name = str(path)
    source = open_source(path)
    collection = collect_images(source.list_entries(), name=name, is_archive=path.is_file())
    classes, given = collection.classes, collection.given_splits
    # Decoding can only take images away: refuse now what an hour of decoding would not mend.
    if params.audit.tiny_class != "exclude":
        refuse_small_classes(collection.images, params.split, classes=classes, given=given)
    find_groups([image.key for image in collection.images], params.split)
    form = ImageForm(
        color=params.dataset.color,
        height_px=params.dataset.height_px,
        width_px=params.dataset.width_px,
        resize=params.dataset.resize,
    )
    with publish_folder(PREPARED) as folder, publish_folder(AUDIT) as audit_folder:
        writer = ShardWriter(folder, form)
        images, measured, undecodable = decode_into(
            writer, source, collection.images, params.dataset, form=form
        )
        for line in describe_undecodable(undecodable, source=name):
            print(f"prepare-dataset: left out {line}")
        units = join_units(images, measured.fingerprints, params.split)
        leaks = find_leaks(images, units)
        left_out = take_out_leaks(leaks, images, params.split, source=name)
        shards = writer.close()
        findings = audit_images(
            images,
            measured.fingerprints,
            units,
            params.audit,
            classes=classes,
            present=rows_without(left_out, num_images=len(images)),
            source=name,
        )
        write_contact_sheet(
            audit_folder / "worst.png", findings, images, params.audit, shards=shards, folder=folder
        )
        write_findings(audit_folder / "findings.csv", findings, images, params.audit)
        for line in describe_findings(findings, images, params.audit):
            print(f"prepare-dataset: {line}")
        left_out |= {row: LeftOut("audit", reason) for row, reason in findings.left_out.items()}
        classes = findings.classes
        keep = rows_without(left_out, num_images=len(images))
        division = split_images(
            [images[row] for row in np.flatnonzero(keep)],
            units.of(keep),
            params.split,
            classes=classes,
            given=given,
        )
        rows = describe_images(
            images, measured.fingerprints, units, splits=division.splits, left_out=left_out
        )
        manifest = write_prepared(
            folder,
            classes,
            rows=(*rows, *collection.left_out, *undecodable),
            image_shards=keep_rows(folder, shards, keep, form),
            sums=measured.sums.of(keep),
            form=form,
        )
        inputs.refuse_changes()
    metrics = PrepareMetrics(
        num_classes=len(manifest.classes),
        num_train=sum(manifest.counts.train),
        num_val=sum(manifest.counts.val),
        num_test=sum(manifest.counts.test),
        num_undecodable=len(undecodable),
        num_not_an_image=len(collection.left_out),
        num_copies=len(units.copies),
        num_near_duplicates=len(np.unique(units.near[:, 1])),
        num_conflicting_labels=len(findings.images["conflicting_labels"]),
        num_blank=len(findings.images["blank"]),
        num_extreme_size=len(findings.images["extreme_size"]),
        num_extreme_shape=len(findings.images["extreme_shape"]),
        num_tiny_classes=len(findings.of_classes["tiny_class"]),
        imbalance=findings.imbalance,
        num_excluded_by_audit=len(findings.left_out),
        num_together=sum(len(members) for members in units.members.values() if len(members) > 1),
        num_leaks=len(leaks),
        num_moved=division.num_moved,
        fingerprint=inputs.describe(data_sha256=manifest.index.sha256).fingerprint,
    )
    write_json(METRICS / "prepare.json", metrics)
    report(metrics, name=name)


def rows_without(left_out: Iterable[int], *, num_images: int) -> Rows:
    """Return which of the images are used."""
    rows = np.ones(num_images, dtype=np.bool_)
    rows[list(left_out)] = False
    return rows


@dataclass(frozen=True)
class Measured:
    """What is known of every image that could be decoded, in their order."""

    sums: ChannelSums
    fingerprints: Fingerprints


def decode_into(
    writer: ShardWriter, source: Source, images: Sequence[FoundImage], dataset: Dataset, *, form: ImageForm
) -> tuple[list[FoundImage], Measured, list[IndexRow]]:
    """Decode every image into the writer.

    Returns:
        The images that could be decoded, what was measured of them, and an index line for each of the others.

    Raises:
        InputError: A file cannot be decoded and dataset.undecodable is error; or none can.
    """
    used: list[FoundImage] = []
    undecodable: list[IndexRow] = []
    sums, fingerprints = [], []
    files = (ImageFile(printable(image.path), partial(source.read, image.path)) for image in images)
    decoded = decode_files(files, form, workers=dataset.workers, fingerprint=fingerprint_image)
    for image, result in zip(images, decoded, strict=True):
        if result.pixels is None:
            undecodable.append(
                describe_left_out(image.path, image.label, status="undecodable", reason=result.reason)
            )
            continue
        writer.append(result.pixels)
        sums.append(sum_channels(result.pixels))
        fingerprints.append(result.fingerprint)
        used.append(image)
    refuse_undecodable(undecodable, dataset, num_images=len(images))
    values, squares = (np.array(column, dtype=np.int64) for column in zip(*sums, strict=True))
    return used, Measured(ChannelSums(values, squares), stack_fingerprints(fingerprints)), undecodable


def write_prepared(
    folder: Path,
    classes: Sequence[str],
    *,
    rows: Iterable[IndexRow],
    image_shards: tuple[FileRecord, ...],
    sums: ChannelSums,
    form: ImageForm,
) -> Manifest:
    """Write everything beside the shards, the manifest last, and return it.

    Args:
        folder: Where the shards are.
        classes: All class names.
        rows: The index lines of all files.
        image_shards: The shards.
        sums: Of the used images.
        form: Of the images.
    """
    rows = sorted(rows, key=lambda row: row.path)
    used = [row for row in rows if row.status == "used"]
    position = {label: i for i, label in enumerate(classes)}
    labels = np.array([position[row.label] for row in used], dtype=np.int64)
    codes = np.array([SPLIT_NAMES.index(row.split) for row in used if row.split], dtype=np.uint8)
    counts = {
        split: tuple(np.bincount(labels[codes == code], minlength=len(position)).tolist())
        for code, split in enumerate(SPLIT_NAMES)
    }
    mean, std = sums.of(codes == SPLIT_NAMES.index("train")).mean_and_std(
        num_pixels=form.height_px * form.width_px
    )
    manifest = Manifest(
        version=1,
        classes=tuple(classes),
        image=form,
        num_images=len(used),
        counts=SplitCounts(**counts),
        mean=mean,
        std=std,
        image_shards=image_shards,
        labels=write_array(folder / "labels.npy", labels),
        splits=write_array(folder / "splits.npy", codes),
        index=write_index(folder / "index.csv", rows),
    )
    write_sealed_json(folder / "manifest.json", manifest)
    return manifest


def report(metrics: PrepareMetrics, *, name: str) -> None:
    """Print what was prepared and what was left out."""
    num_images = metrics.num_train + metrics.num_val + metrics.num_test
    print(
        f"prepare-dataset: {num_images:,} images of {metrics.num_classes} classes from {name}: "
        f"{metrics.num_train:,} train, {metrics.num_val:,} val, {metrics.num_test:,} test"
    )
    if metrics.num_undecodable or metrics.num_not_an_image:
        print(
            f"prepare-dataset: left out {metrics.num_undecodable:,} that cannot be decoded and "
            f"{metrics.num_not_an_image:,} that are no images; {PREPARED / 'index.csv'} names each"
        )
    if metrics.num_together:
        print(
            f"prepare-dataset: {metrics.num_together:,} stay on one side with another: "
            f"{metrics.num_copies:,} copies, {metrics.num_near_duplicates:,} near duplicates, and groups"
        )
    if metrics.num_leaks:
        print(
            f"prepare-dataset: {metrics.num_leaks:,} belong with an image in a split folder "
            "closer to the test"
        )
    if metrics.num_moved:
        print(
            f"prepare-dataset: moved {metrics.num_moved:,} into a split that had drawn none of their class; "
            "such an image may move back when its class grows"
        )


def refuse_undecodable(rows: Sequence[IndexRow], dataset: Dataset, *, num_images: int) -> None:
    """Stop if nothing can be decoded, or if something cannot and dataset.undecodable is error."""
    source = dataset.source
    if len(rows) == num_images:
        raise InputError(
            f"dataset.source: {source}: none of its {num_images:,} images can be decoded; the first: "
            f"{rows[0].path}: {rows[0].reason}; put readable images there"
        )
    if rows and dataset.undecodable == "error":
        lines = describe_undecodable(rows, source=source)
        raise InputError(
            "\n".join(f"{line}; remove it, or set dataset.undecodable: exclude" for line in lines)
        )


def describe_undecodable(rows: Sequence[IndexRow], *, source: str, at_most: int = 10) -> list[str]:
    """Return a line for each of the first few files that cannot be decoded."""
    lines = [f"{source}/{row.path}: {row.reason}" for row in rows[:at_most]]
    if len(rows) > at_most:
        lines.append(f"{source}: {len(rows) - at_most:,} more that cannot be decoded")
    return lines


if __name__ == "__main__":
    run_stage(main)
