"""What prepare-dataset hands over beside the pixels: labels, splits, the index and the manifest."""

from collections.abc import Iterable, Sequence
from heapq import merge
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.shared.image import ImageForm
from schemas.shared.index import IndexRow
from schemas.shared.manifest import SPLIT_NAMES, Manifest, ShardRecord, SplitCounts
from stages.prepare_dataset.details import Details
from stages.prepare_dataset.found_images import FoundImages
from stages.prepare_dataset.pack import mean_and_std, write_array
from stages.shared.files import write_sealed_json
from stages.shared.index import write_index


def write_prepared(
    folder: Path,
    images: FoundImages,
    details: Details,
    splits: npt.NDArray[np.uint8],
    *,
    rows: Sequence[Iterable[IndexRow]],
    classes: Sequence[str],
    image_shards: tuple[ShardRecord, ...],
    form: ImageForm,
) -> Manifest:
    """Write everything beside the shards, the manifest last, and return it.

    Args:
        folder: Where the shards are.
        images: Those that are used, in the order of the packed rows.
        details: Of each of them.
        splits: Of each of them, places in SPLIT_NAMES.
        rows: The index lines of all files, in any number of parts that are sorted by path.
        classes: The classes that stay, sorted.
        image_shards: The shards.
        form: Of the images.
    """
    labels = np.searchsorted(np.array(classes), np.array(images.classes))[images.labels].astype(np.int64)
    counts = {
        split: tuple(np.bincount(labels[splits == code], minlength=len(classes)).tolist())
        for code, split in enumerate(SPLIT_NAMES)
    }
    mean, std = mean_and_std(details.of(splits == SPLIT_NAMES.index("train")), form)
    manifest = Manifest(
        version=2,
        classes=tuple(classes),
        image=form,
        num_images=len(images),
        counts=SplitCounts(**counts),
        mean=mean,
        std=std,
        image_shards=image_shards,
        labels=write_array(folder / "labels.npy", labels),
        splits=write_array(folder / "splits.npy", splits),
        index=write_index(folder / "index.csv", merge(*rows, key=lambda row: row.path)),
    )
    write_sealed_json(folder / "manifest.json", manifest)
    return manifest
