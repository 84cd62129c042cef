"""prepare-dataset: turn `dataset.source` into data/prepared.

List, decode once, check, split, pack, measure. Run by `dvc repro`, or as `python -m stages.prepare_dataset`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from schemas.prepare_dataset.dataset import Dataset
from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from schemas.shared.image import ImageForm
from schemas.shared.index import IndexRow
from schemas.shared.manifest import SPLIT_NAMES, Manifest, SplitCounts, SplitName
from stages.params.read import read_params
from stages.prepare_dataset.collect import Collection, FoundImage, collect_images
from stages.prepare_dataset.pack import ChannelSums, ShardWriter, sum_channels, write_array
from stages.prepare_dataset.source import open_source
from stages.prepare_dataset.split import split_images
from stages.shared.decode import ImageFile, decode_files
from stages.shared.errors import InputError, run_stage
from stages.shared.files import publish_folder, write_json
from stages.shared.index import write_index
from stages.shared.paths import METRICS, PREPARED
from stages.shared.source import Source
from stages.shared.text import printable


def main() -> None:
    """Prepare the data set that params.yaml names."""
    params = read_params()
    path = Path(params.dataset.source)
    name = str(path)
    source = open_source(path)
    collection = collect_images(source.list_entries(), name=name, is_archive=path.is_file())
    # Decoding can only take images away: refuse now what an hour of decoding would not mend.
    split_images(collection.images, params.split, classes=collection.classes, given=collection.given_splits)
    form = ImageForm(
        color=params.dataset.color,
        height_px=params.dataset.height_px,
        width_px=params.dataset.width_px,
        resize=params.dataset.resize,
    )
    with publish_folder(PREPARED) as folder:
        writer = ShardWriter(folder, form)
        images, sums, undecodable = decode_into(writer, source, collection.images, params.dataset, form=form)
        for line in describe_undecodable(undecodable, source=name):
            print(f"prepare-dataset: left out {line}")
        splits = split_images(images, params.split, classes=collection.classes, given=collection.given_splits)
        manifest = write_prepared(
            folder,
            writer,
            collection,
            images=images,
            splits=splits,
            sums=sums,
            left_out=(*collection.left_out, *undecodable),
            form=form,
        )
    metrics = PrepareMetrics(
        num_classes=len(manifest.classes),
        num_train=sum(manifest.counts.train),
        num_val=sum(manifest.counts.val),
        num_test=sum(manifest.counts.test),
        num_undecodable=len(undecodable),
        num_not_an_image=len(collection.left_out),
    )
    write_json(METRICS / "prepare.json", metrics)
    report(metrics, name=name)


def decode_into(
    writer: ShardWriter, source: Source, images: Sequence[FoundImage], dataset: Dataset, *, form: ImageForm
) -> tuple[list[FoundImage], ChannelSums, list[IndexRow]]:
    """Decode every image into the writer.

    Returns:
        The images that could be decoded, their channel sums, and an index line for each of the others.

    Raises:
        InputError: A file cannot be decoded and dataset.undecodable is error; or none can.
    """
    used: list[FoundImage] = []
    undecodable: list[IndexRow] = []
    sums = []
    files = (ImageFile(printable(image.path), partial(source.read, image.path)) for image in images)
    decoded = decode_files(files, form, workers=dataset.workers)
    for image, result in zip(images, decoded, strict=True):
        if result.pixels is None:
            undecodable.append(
                IndexRow(
                    path=result.path,
                    label=image.label,
                    split="",
                    status="undecodable",
                    reason=result.reason,
                )
            )
            continue
        writer.append(result.pixels)
        sums.append(sum_channels(result.pixels))
        used.append(image)
    refuse_undecodable(undecodable, dataset, num_images=len(images))
    values, squares = (np.array(column, dtype=np.int64) for column in zip(*sums, strict=True))
    return used, ChannelSums(values, squares), undecodable


def write_prepared(
    folder: Path,
    writer: ShardWriter,
    collection: Collection,
    *,
    images: Sequence[FoundImage],
    splits: Sequence[SplitName],
    sums: ChannelSums,
    left_out: Sequence[IndexRow],
    form: ImageForm,
) -> Manifest:
    """Write everything beside the shards, the manifest last, and return it."""
    position = {label: i for i, label in enumerate(collection.classes)}
    labels = np.array([position[image.label] for image in images], dtype=np.int64)
    codes = np.array([SPLIT_NAMES.index(split) for split in splits], dtype=np.uint8)
    counts = {
        split: tuple(np.bincount(labels[codes == code], minlength=len(position)).tolist())
        for code, split in enumerate(SPLIT_NAMES)
    }
    used = (
        IndexRow(path=printable(image.path), label=image.label, split=split, status="used", reason="")
        for image, split in zip(images, splits, strict=True)
    )
    mean, std = sums.of(codes == SPLIT_NAMES.index("train")).mean_and_std(
        num_pixels=form.height_px * form.width_px
    )
    manifest = Manifest(
        version=1,
        classes=collection.classes,
        image=form,
        num_images=len(images),
        counts=SplitCounts(**counts),
        mean=mean,
        std=std,
        image_shards=writer.close(),
        labels=write_array(folder / "labels.npy", labels),
        splits=write_array(folder / "splits.npy", codes),
        index=write_index(folder / "index.csv", sorted((*used, *left_out), key=lambda row: row.path)),
    )
    write_json(folder / "manifest.json", manifest)
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
